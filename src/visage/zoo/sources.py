"""How the bytes of a model are had: one class a kind of source, one table from the catalogue's words to them."""

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from visage.errors import DownloadFailed
from visage.lock import alone, told_plainly
from visage.zoo.catalogue import DriveFile, LocalFile, PackageFile, Place, WebFile, ZipMember
from visage.zoo.download import Request, WebPage, download
from visage.zoo.patience import Patience
from visage.zoo.progress import Meter, metered
from visage.zoo.transfer import copied

_DRIVE = "https://drive.google.com/uc"


@dataclass(frozen=True, slots=True)
class Fetching:
    """What every source is given: the models folder, whether the network may be used, how long it is waited for.

    `drive`: where Google Drive hands out files.
    """

    folder: Path
    offline: bool = False
    patience: Patience = field(default_factory=Patience)
    drive: str = _DRIVE


class ModelSource(Protocol):
    def fetch(self, into: Path, most: int | None, meter: Meter, /) -> None:
        """Write the file to `into`, whole or not at all; `most`: bytes that it has at most. Raises DownloadFailed."""
        ...


class PackageSource:
    """A file that an installed Python package carries; the package's own code is not run."""

    def __init__(self, where: PackageFile) -> None:
        self._where = where

    def located(self) -> Path:
        """Where it lies. Raises DownloadFailed."""
        package, file = self._where.package, self._where.file
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:  # of a package in a package that is not there
            spec = None
        if spec is None:
            raise DownloadFailed(f"package {package!r} is not installed: pip install -r requirements.txt")
        places = [Path(root) / file for root in spec.submodule_search_locations or []]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise DownloadFailed(f"package {package!r} has no file {file!r}")
        return found

    def fetch(self, into: Path, most: int | None, meter: Meter, /) -> None:
        copied(self.located(), into, meter)

    def __str__(self) -> str:
        return f"package {self._where.package}: {self._where.file}"


class LocalSource:
    """A file of this machine, or a member of a zip archive there."""

    def __init__(self, where: LocalFile, fetching: Fetching) -> None:
        self._path = fetching.folder / where.path
        self._member = where.member

    def located(self) -> Path:
        """Where it lies, ready to be opened. Raises DownloadFailed."""
        if not self._path.is_file():
            raise DownloadFailed("there is no such file")
        if self._member is not None:
            raise DownloadFailed("it lies in an archive")
        return self._path

    def fetch(self, into: Path, most: int | None, meter: Meter, /) -> None:
        if self._member is None:
            copied(self.located(), into, meter)
        elif not self._path.is_file():
            raise DownloadFailed("there is no such archive")
        else:
            extract(self._path, self._member, into, most)

    def __str__(self) -> str:
        return str(self._path) if self._member is None else f"{self._path} ({self._member})"


class WebSource:
    """A file at an http or https address."""

    def __init__(self, url: str, fetching: Fetching) -> None:
        self._url = url
        self._fetching = fetching

    def fetch(self, into: Path, most: int | None, meter: Meter, /) -> None:
        _online(self._fetching)
        download(Request(self._url, most), into, meter, self._fetching.patience)

    def __str__(self) -> str:
        return _shown(self._url)


class DriveSource:
    """A public file of Google Drive; past 100 MB it asks for a confirmation, which gdown knows how to read."""

    def __init__(self, where: DriveFile, fetching: Fetching) -> None:
        self._url = f"{fetching.drive}?export=download&id={where.gdrive}"
        self._fetching = fetching

    def fetch(self, into: Path, most: int | None, meter: Meter, /) -> None:
        _online(self._fetching)
        try:
            download(Request(self._url, most, self._url), into, meter, self._fetching.patience)
        except WebPage as page:
            confirmed = Request(_confirmed(page.text), most, self._url)
            try:
                download(confirmed, into, meter, self._fetching.patience)
            except WebPage as refusal:
                _confirmed(refusal.text)  # raises with the page's own words, if it has any
                raise

    def __str__(self) -> str:
        return self._url


def pull_archive(name: str, addresses: Sequence[str], fetching: Fetching) -> Path:
    """Fetch a pack's zip from the first address that gives it to `<name>.zip` of the models folder.

    Raises DownloadFailed naming every address, and ModelFileError for what the disk refuses.
    """
    into = fetching.folder / f"{name}.zip"
    failures = []
    with told_plainly(name, fetching.folder):
        fetching.folder.mkdir(parents=True, exist_ok=True)
        with alone(fetching.folder / f".{name}.lock", name):
            for address in addresses:
                try:
                    with metered(f"{name} from {address}") as meter:
                        WebSource(address, fetching).fetch(into, None, meter)
                    return into
                except DownloadFailed as exc:
                    failures.append(f"{address}: {exc}")
    raise DownloadFailed(f"{name}: {'; '.join(failures)}; a file put by hand belongs at {into}")


class ZipSource:
    """A member of a zip archive, which is kept in `archives/` of the models folder for its other members."""

    def __init__(self, where: ZipMember, fetching: Fetching) -> None:
        self._where = where
        self._fetching = fetching
        # Mirrors and releases call different archives by one name.
        place = hashlib.sha256(where.zip.encode()).hexdigest()[:12]
        self._archive = fetching.folder / "archives" / f"{place}-{PurePosixPath(urlsplit(where.zip).path).name}"

    def fetch(self, into: Path, most: int | None, meter: Meter, /) -> None:
        self._archive.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not self._archive.is_file():
                _online(self._fetching)
                download(Request(self._where.zip), self._archive, meter, self._fetching.patience)
            try:
                extract(self._archive, self._where.member, into, most)
            except BrokenArchive:
                self._archive.unlink()  # it cannot get better
                raise

    def has_archive(self) -> bool:
        """Whether an earlier `fetch` left it."""
        return self._archive.is_file()

    def forget(self) -> None:
        """Drop the archive, so that the next `fetch` gets it anew."""
        with self._alone():
            self._archive.unlink(missing_ok=True)

    def _alone(self) -> AbstractContextManager[None]:
        return alone(self._archive.with_name(f".{self._archive.name}.lock"), self._archive.name)

    def __str__(self) -> str:
        return f"{_shown(self._where.zip)} ({self._where.member})"


class BrokenArchive(DownloadFailed):
    """What should be a zip archive cannot be read as one."""


def extract(archive: Path, member: str, into: Path, most: int | None = None) -> None:
    """Write the member of that path, or else of that name in whatever folder of the archive, to `into`.

    Raises DownloadFailed.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = [info for info in opened.infolist() if not info.is_dir()]
            found = [info for info in files if info.filename == member]
            found += [info for info in files if PurePosixPath(info.filename).name == PurePosixPath(member).name]
            if not found:
                raise DownloadFailed(f"the archive has no member {member!r}")
            if most is not None and found[0].file_size > most:
                raise DownloadFailed(f"member {member!r} has {found[0].file_size} bytes, {most} are expected")
            with opened.open(found[0]) as source_file, into.open("wb") as target:
                shutil.copyfileobj(source_file, target, 1 << 20)
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as exc:
        raise BrokenArchive(f"what came is no zip archive: {exc}") from exc


_KINDS: Mapping[type[Any], Callable[[Any, Fetching], ModelSource]] = {
    PackageFile: lambda where, _: PackageSource(where),
    LocalFile: LocalSource,
    WebFile: lambda where, fetching: WebSource(where.url, fetching),
    DriveFile: DriveSource,
    ZipMember: ZipSource,
}


def source(where: Place, fetching: Fetching) -> ModelSource:
    """What fetches a catalogue's source."""
    return _KINDS[type(where)](where, fetching)


def _shown(url: str) -> str:
    """The address without a user and password in it: logs, notes and errors repeat it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _online(fetching: Fetching) -> None:
    if fetching.offline:
        raise DownloadFailed("not tried: OFFLINE=1")


def _confirmed(page: str) -> str:
    """The address behind Drive's "can't scan this file for viruses". Raises DownloadFailed for any other page."""
    from gdown.download import get_url_from_gdrive_confirmation  # takes long to import, and few need it
    from gdown.exceptions import FileURLRetrievalError

    try:
        return get_url_from_gdrive_confirmation(page)
    except FileURLRetrievalError as exc:
        reason = " ".join(str(exc).split())
        raise DownloadFailed(f"Google Drive hands it out to nobody now: {reason}") from exc
    except (LookupError, AssertionError) as exc:  # of a form without the fields that gdown relies on
        raise DownloadFailed("Google Drive answered with a page that is not understood") from exc


def data_file(name: str) -> Path:
    """A file that this package carries in `visage/data`."""
    return Path(str(resources.files("visage") / "data" / name))
