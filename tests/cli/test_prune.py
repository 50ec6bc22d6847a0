"""`visage models prune` over a folder in which engines were built by a TensorRT of a few lines."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.backends.tensorrt.fakes import Cuda, TensorRT10
from tests.networks import dense, scrfd_heads
from tests.support import models_folder, settings_of
from visage.__main__ import main
from visage.backends.tensorrt.session import opened
from visage.runtime import model_file, prepare

DETECTOR = {"family": "scrfd", "licence": {"id": "MIT"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of one network whose file is rewritten before it is opened."""
    made = models_folder(
        tmp_path / "models", {"net": DETECTOR}, {"net": dense(tmp_path / "net.onnx", scrfd_heads(), batch=1)}
    )
    monkeypatch.setenv("MODELS_DIR", str(made))
    return made / "onnx" / "net"


def build(folder: Path, version: str) -> None:
    """Start once with the TensorRT of this version."""
    settings = settings_of(MODELS_DIR=str(folder.parents[1]), DET_NAME="net", REC_NAME="None", MAX_SIZE="64,64")
    model = prepare(settings).defaults["det"]
    library = TensorRT10()
    library.__version__ = version  # type: ignore[misc]  # this one's alone
    opened(library, Cuda(), model_file(settings, model.entry, model.file)).close()


def installed(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    module = None if version is None else SimpleNamespace(__name__="tensorrt", __version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)


def those(folder: Path) -> set[str]:
    """Versions of which there is an engine, and of which there are measurements."""
    return {
        path.name.split(".sm86")[0] + path.suffix for path in folder.iterdir() if path.suffix in (".engine", ".timing")
    }


Run = Callable[..., list[str]]


@pytest.fixture
def prune(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> list[str]:
        capsys.readouterr()
        assert main(["models", "prune", *words]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_after_an_upgrade_what_the_older_tensorrt_built_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prune: Run
) -> None:
    for version in ("10.9.0", "10.13.0"):
        build(folder, version)
    both = those(folder)
    assert both == {f"net.tensorrt-{v}{kind}" for v in ("10.9.0", "10.13.0") for kind in (".engine", ".timing")}
    installed(monkeypatch, "10.13.0")

    told = prune("--dry-run")
    assert len(told) == 3 and told[-1].startswith("2 files, ") and told[-1].endswith(" MB, would be deleted")
    assert those(folder) == both

    told = prune()
    assert "net.tensorrt-10.9.0." in told[0] and told[0].endswith("of tensorrt 10.9.0; tensorrt 10.13.0 is here")
    assert told[-1].endswith(" MB deleted")
    assert those(folder) == {"net.tensorrt-10.13.0.engine", "net.tensorrt-10.13.0.timing"}
    assert (folder / "net.onnx").is_file() and (folder / "net.prepared.onnx").is_file()
    assert prune() == ["nothing to delete"]


def test_after_a_change_of_the_file_what_was_built_of_it_goes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prune: Run
) -> None:
    build(folder, "10.13.0")
    (before,) = folder.glob("*.engine")
    dense(folder / "net.onnx", scrfd_heads()[::-1], batch=1)
    build(folder, "10.13.0")
    installed(monkeypatch, "10.13.0")
    assert prune()[0] == f"{before.name}: of another file than the network's now"
    (kept,) = folder.glob("*.engine")
    assert kept != before


def test_a_file_that_is_still_to_be_prepared_costs_no_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prune: Run
) -> None:
    build(folder, "10.13.0")
    (folder / "net.prepared.onnx").unlink()
    installed(monkeypatch, "10.13.0")
    assert prune() == ["nothing to delete"]


def test_without_tensorrt_nothing_is_said_of_versions(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prune: Run
) -> None:
    build(folder, "10.9.0")
    installed(monkeypatch, None)
    assert prune() == ["TensorRT is not installed here: engines of other versions are left alone", "nothing to delete"]
