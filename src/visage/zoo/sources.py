"""How the bytes of a model are had."""

import shutil
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from visage.errors import DownloadFailed
from visage.zoo.catalogue import PackageFile


class ModelSource(Protocol):
    def fetch(self, into: Path, /) -> None:
        """Write the file to `into`, which does not exist yet. Raises DownloadFailed."""
        ...


class PackageSource:
    """A file that an installed Python package carries; the package's own code is not run."""

    def __init__(self, where: PackageFile) -> None:
        self._where = where

    def fetch(self, into: Path, /) -> None:
        package, file = self._where.package, self._where.file
        if find_spec(package) is None:
            raise DownloadFailed(f"package {package!r} is not installed: pip install -r requirements.txt")
        found = self._located(package, file)
        if found is None:
            raise DownloadFailed(f"package {package!r} has no file {file!r}")
        shutil.copyfile(found, into)

    def __str__(self) -> str:
        return f"package {self._where.package}: {self._where.file}"

    @staticmethod
    def _located(package: str, file: str) -> Path | None:
        spec = find_spec(package)
        roots = list(spec.submodule_search_locations or []) if spec else []
        return next((Path(root) / file for root in roots if (Path(root) / file).is_file()), None)


def data_file(name: str) -> Path:
    """A file that this package carries in `visage/data`."""
    return Path(str(resources.files("visage") / "data" / name))
