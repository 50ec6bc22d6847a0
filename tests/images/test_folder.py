import os
from contextlib import suppress
from pathlib import Path

import pytest

from visage.errors import ImageError, ImageTooLarge, ImageUnreachable, PathForbidden
from visage.images.fetching import Folder, Local

BODY = b"the bytes of a picture"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """…/secret-server-path/pictures with a.jpg and sub/b.jpg, beside a file that is not to be read."""
    folder = tmp_path / "secret-server-path" / "pictures"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(BODY)
    (folder / "sub" / "b.jpg").write_bytes(BODY)
    (folder.parent / "outside.jpg").write_bytes(b"not to be read")
    return folder


def read(root: Path, path: str, limit: int = 1000) -> bytes:
    return Folder(root, limit).read(Local(path))


@pytest.mark.parametrize("path", ["a.jpg", "./a.jpg", "sub/b.jpg", "sub/../a.jpg", "sub//b.jpg"])
def test_a_file_of_the_folder_is_read(root: Path, path: str) -> None:
    assert read(root, path) == BODY


def test_an_absolute_path_into_the_folder_is_read(root: Path) -> None:
    assert read(root, str(root / "a.jpg")) == BODY


def test_a_folder_that_is_a_link_itself_is_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read(tmp_path / "link", "a.jpg") == BODY


@pytest.mark.parametrize(
    "path", ["../outside.jpg", "sub/../../outside.jpg", "..", "/etc/passwd", "/", "../pictures2/a"]
)
def test_a_path_out_of_the_folder_is_forbidden_whether_or_not_it_exists_fault_08(root: Path, path: str) -> None:
    with pytest.raises(PathForbidden, match="outside the folder for pictures"):
        read(root, path)


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path) -> None:
    neighbour = root.parent / "pictures-private"
    neighbour.mkdir()
    (neighbour / "a.jpg").write_bytes(BODY)
    with pytest.raises(PathForbidden):
        read(root, "../pictures-private/a.jpg")


def test_a_link_inside_the_folder_is_followed(root: Path) -> None:
    (root / "link.jpg").symlink_to("sub/b.jpg")
    (root / "linked").symlink_to(root / "sub")

    assert read(root, "link.jpg") == read(root, "linked/b.jpg") == BODY


def test_a_link_out_of_the_folder_is_forbidden(root: Path) -> None:
    (root / "link.jpg").symlink_to(root.parent / "outside.jpg")
    (root / "linked").symlink_to(root.parent)
    for path in ("link.jpg", "linked/outside.jpg", "linked/pictures/../outside.jpg"):
        with pytest.raises(PathForbidden):
            read(root, path)


@pytest.mark.parametrize("path", ["none.jpg", "none/a.jpg", "a.jpg/b.jpg", "loop", "a" * 5000, "a/" * 3000, "x\0y.jpg"])
def test_a_file_that_is_not_there_is_not_found(root: Path, path: str) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(ImageUnreachable, match="not found"):
        read(root, path)


def test_the_text_for_a_missing_file_is_the_one_that_clients_know(root: Path) -> None:
    with pytest.raises(ImageUnreachable) as caught:
        read(root, "sub/none.jpg")
    assert str(caught.value) == "File: 'sub/none.jpg' not found"


@pytest.mark.parametrize("path", ["sub", ".", "", "sub/"])
def test_a_directory_is_no_picture(root: Path, path: str) -> None:
    with pytest.raises(ImageUnreachable, match="no regular file"):
        read(root, path)


def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ImageUnreachable, match="no regular file"):
        read(root, "pipe")


def test_a_file_over_the_limit_is_refused_with_both_numbers(root: Path) -> None:
    assert read(root, "a.jpg", limit=len(BODY)) == BODY
    with pytest.raises(ImageTooLarge, match=f"{len(BODY)} bytes; at most {len(BODY) - 1}"):
        read(root, "a.jpg", limit=len(BODY) - 1)


def test_a_folder_that_does_not_exist_holds_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageUnreachable):
        read(tmp_path / "none", "a.jpg")


def test_no_error_tells_where_the_folder_is(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "out").symlink_to(root.parent / "outside.jpg")
    for path in ("none", "../outside.jpg", "out", "sub", "pipe", "a\0b", "a" * 5000, "a.jpg"):
        with pytest.raises(ImageError) as caught:
            read(root, path, limit=5)
        assert "secret-server-path" not in str(caught.value)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def opened(root: Path) -> list[Path]:
    """What of the folder this process has open; how many descriptors it has in all is up to its other threads, too."""
    places: list[Path] = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            places.append(link.readlink())
    return [place for place in places if place.is_relative_to(root.resolve())]


def test_no_refusal_leaves_a_file_open(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for path in ("sub", "pipe", "a.jpg", "none") * 5:
        with pytest.raises(ImageError):
            read(root, path, limit=5)
    assert opened(root) == []
    with (root / "a.jpg").open("rb"):
        assert opened(root) == [(root / "a.jpg").resolve()]
