from pathlib import Path

import pytest

from visage.__main__ import main


@pytest.fixture
def command(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_DIR", str(models_dir))
    monkeypatch.setenv("INFERENCE_BACKEND", "onnx")


@pytest.mark.usefixtures("command")
def test_the_networks_of_the_settings_are_written_and_what_was_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "repository"
    assert main(["triton-repo", str(folder), "--max-batch", "8", "--queue-delay", "250"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{folder / name}: 1/model.onnx, config.pbtxt written" for name in ("yunet", "sface")]
    config = (folder / "sface" / "config.pbtxt").read_text("utf-8")
    assert "max_batch_size: 8" in config and "max_queue_delay_microseconds: 250" in config

    (folder / ".work-dead" / "x").mkdir(parents=True)
    (folder / "old").mkdir()
    (folder / "old" / "config.pbtxt").touch()
    assert main(["triton-repo", str(folder), "--max-batch", "8", "--queue-delay", "250"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        *(f"{folder / name}: nothing written" for name in ("yunet", "sface")),
        "also there, and named by no setting: old",
    ]
    assert not (folder / ".work-dead").exists()


@pytest.mark.usefixtures("command")
def test_engines_are_told_how_to_be_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triton-repo", str(tmp_path / "r"), "--platform", "tensorrt"]) == 0
    said = capsys.readouterr().out
    assert said.count("trtexec --onnx=") == 2 and "--maxShapes=input:16x3x640x640" in said


@pytest.mark.usefixtures("command")
def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["triton-repo", str(tmp_path / "file" / "r")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("visage: Configuration error: ") and said.count("\n") == 1 and "cannot be written" in said


@pytest.mark.parametrize("arguments", [["--instances", "0"], ["--max-batch", "x"], ["--platform", "caffe"]])
def test_arguments_that_mean_nothing_are_refused(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["triton-repo", str(tmp_path), *arguments])
