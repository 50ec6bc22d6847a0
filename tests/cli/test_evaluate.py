"""`visage evaluate`."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from tests.support import REPO
from visage.__main__ import main
from visage.calibration import Judged
from visage.cli import plots
from visage.cli.evaluate import Pair, _evaluated, evaluated, every_pair, judged, read_pairs, told
from visage.errors import ConfigurationError

HEAD = "imageA,imageB,same,idA,idB\n"


def file_of(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no pairs"),
        (HEAD, "no pairs"),
        ("a,b,same\nx,y,1\n", "line 2: imageA"),
        (HEAD + "a,b,1,p,p\na,b,yes,p,p\n", "line 3"),
        (HEAD + "a,,1,p,p\n", "line 2"),
    ],
)
def test_what_is_no_list_of_pairs_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_pairs(file_of(tmp_path, text))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_pairs(tmp_path / "absent.csv")


def test_pairs_are_read_with_and_without_persons(tmp_path: Path) -> None:
    assert read_pairs(file_of(tmp_path, "\ufeff" + HEAD + "a,b,1,p,p\n")) == [Pair("a", "b", True, ("p", "p"))]
    assert read_pairs(file_of(tmp_path, "imageA,imageB,same\na,b,0\n")) == [Pair("a", "b", False)]


def test_every_two_pictures_are_a_pair_where_it_is_known_who_they_are() -> None:
    given = [Pair("a", "b", True, ("p", "p")), Pair("a", "c", False, ("p", "q"))]
    assert every_pair(given) == [*given, Pair("b", "c", False, ("p", "q"))]
    with pytest.raises(ConfigurationError, match="idA and idB"):
        every_pair([Pair("a", "b", True)])


VECTORS = {name: np.array(v, np.float32) for name, v in {"a": (1, 0), "b": (0.8, 0.6), "c": (0, 1)}.items()}
PAIRS = [Pair("a", "b", True), Pair("a", "c", False), Pair("c", "b", False)]


def test_what_is_found_out_and_how_it_is_told() -> None:
    report = evaluated(PAIRS, VECTORS)
    assert report["roc_auc"] == 1 and report["accuracy"] == 1 and report["threshold"] == pytest.approx(0.7)
    assert (report["pairs"], report["pairs_of_one"], report["pairs_of_two"], report["pictures"]) == (3, 1, 2, 3)
    assert report["leaving_persons_out"] is None
    text = told(report | {"model": "m@1", "unread": {"d": "no face was found"}, "pairs_left_out": 4})
    assert "TAR at FAR 1e-06     not to be seen: that takes 1,000,000 pairs of two persons, these are 2" in text
    assert "4 pairs were left out" in text and "d        no face was found" in text
    with pytest.raises(ConfigurationError, match="of one person and of two are needed"):
        evaluated(PAIRS[:1], VECTORS)


def test_persons_of_the_file_go_before_those_that_pairs_join() -> None:
    assert judged(PAIRS, VECTORS).persons == (("a", "a"), ("a", "c"), ("c", "a"))
    named = [Pair(pair.a, pair.b, pair.same, ("p", "q")) for pair in PAIRS]
    assert set(judged(named, VECTORS).persons) == {("p", "q")}


def test_plots_are_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    same = rng.random(300) < 0.4
    scores = Judged(np.where(same, 0.7, 0.1) + rng.normal(0, 0.1, 300), same)
    report = {"model": "m", "pairs": 300, "pairs_of_two": int((~same).sum()), "roc_auc": 0.99, "threshold": 0.4}
    plots.write(scores, report, tmp_path / "plots")
    for name in ("roc.png", "scores.png"):
        pixels = image.imread(tmp_path / "plots" / name)
        assert min(pixels.shape[:2]) > 300 and pixels.std() > 0.05


def test_the_command_on_real_pictures(
    tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = REPO / "misc" / "images"
    text = "imageA,imageB,same\n"
    text += "astronaut.jpg,astronaut.jpg,1\nastronaut.jpg,grace_hopper.jpg,0\nastronaut.jpg,absent.jpg,0\n"
    path = file_of(tmp_path, text)
    for name, value in {"MODELS_DIR": str(models_dir), "INFERENCE_BACKEND": "onnx", "LOG_LEVEL": "ERROR"}.items():
        monkeypatch.setenv(name, value)
    assert main(["evaluate", str(path), "--images", str(folder), "--json", "--plots", str(tmp_path / "plots")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"].startswith("sface@") and report["roc_auc"] == 1
    assert report["unread"] == {"absent.jpg": "not found"} and report["pairs_left_out"] == 1
    assert (tmp_path / "plots" / "roc.png").is_file()


def test_pictures_that_are_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"a{i}.jpg,b{i}.jpg,{i % 2},p{i},q{i}\n" for i in range(4))
    pairs = file_of(tmp_path, HEAD + rows)
    assert main(["evaluate", str(pairs), "--images", str(tmp_path / "wrong")]) == 1
    told = capsys.readouterr().err
    assert "none of the 8 pictures is in" in told and "wrong" in told and "a0.jpg, b0.jpg" in told and "3 more" in told


def test_where_too_few_are_left_the_others_are_named() -> None:
    failed = {"a": "not found", "b": "no face was found"}
    with pytest.raises(ConfigurationError, match=r"2 pictures could not be used: a \(not found\), b \(no face"):
        _evaluated([], {}, failed)
