"""The programs of misc/examples, run as their first lines say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.runnable import EVERY
from tests.support import REPO
from visage.backends import ORACLE

pytestmark = pytest.mark.timeout(600)  # processes that load and compile networks

every_backend = pytest.mark.parametrize("backend", EVERY)

EXAMPLES = REPO / "misc" / "examples"
IMAGES = REPO / "misc" / "images"


def run(models: Path, name: str, *words: object, status: int = 0, backend: str = ORACLE) -> list[str]:
    env = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(REPO / "src")}
    env |= {"MODELS_DIR": str(models), "INFERENCE_BACKEND": backend}
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


@every_backend
def test_detect_tells_each_face_and_draws_it_and_a_bad_picture_costs_its_neighbours_nothing(
    models_dir: Path, tmp_path: Path, backend: str
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    said = run(
        models_dir, "detect.py", bad, IMAGES / "astronaut.jpg", "-o", tmp_path / "out", status=1, backend=backend
    )
    assert said[0].startswith(f"{bad}: Can't decode")
    assert said[1] == f"{IMAGES / 'astronaut.jpg'}: 1 faces" and said[2].startswith("    score 0.9")
    shown = cv2.imread(str(tmp_path / "out" / "astronaut.faces.png"))
    assert shown is not None and shown.shape == cv2.imread(str(IMAGES / "astronaut.jpg")).shape


@every_backend
def test_embed_tells_the_same_person_from_another(models_dir: Path, backend: str) -> None:
    astronaut, hopper = IMAGES / "astronaut.jpg", IMAGES / "grace_hopper.jpg"
    other, same = run(models_dir, "embed.py", astronaut, hopper, astronaut, backend=backend)
    assert other.startswith(f"{hopper}: cosine ") and other.endswith(", another person")
    assert same == f"{astronaut}: cosine 1.000, the same person"


@pytest.mark.parametrize("nested", [True, False])
def test_search_names_who_is_in_the_gallery_and_nobody_else(models_dir: Path, tmp_path: Path, nested: bool) -> None:
    gallery = tmp_path / "gallery"
    place = gallery / "eileen" / "1.jpg" if nested else gallery / "eileen.jpg"
    place.parent.mkdir(parents=True)
    shutil.copy(IMAGES / "astronaut.jpg", place)
    (gallery / "broken.png").write_bytes(b"no picture")
    known = run(models_dir, "search.py", gallery, IMAGES / "astronaut.jpg")
    assert known[0].startswith(f"{gallery / 'broken.png'}: ") and known[1:] == ["face 0: eileen 1.000"]
    assert run(models_dir, "search.py", gallery, IMAGES / "grace_hopper.jpg")[1:] == ["face 0: unknown"]


def test_search_does_not_make_one_person_of_two_in_different_folders(models_dir: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    for folder, picture in {"sales/john": "astronaut.jpg", "sales/eve": "grace_hopper.jpg"}.items():
        (gallery / folder).mkdir(parents=True)
        shutil.copy(IMAGES / picture, gallery / folder / "1.jpg")
    (gallery / "sales" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    said = run(models_dir, "search.py", gallery, IMAGES / "astronaut.jpg")
    assert said == [f"{gallery / 'sales' / 'gone.jpg'}: No such file or directory", "face 0: sales/john 1.000"]


def test_embed_says_which_file_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "embed.py"), str(IMAGES / "astronaut.jpg"), str(tmp_path / "gone.jpg")]
    env = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'gone.jpg'}: No such file or directory\n")
