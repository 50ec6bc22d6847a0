"""The folder in which the embedded store keeps galleries: what is seen of it without opening anything."""

import os
from pathlib import Path

FOLDER = "galleries"
FILE = "galleries.sqlite"
SEGMENT = ".rows"


def is_there(folder: Path) -> bool:
    """Whether the database is. Raises OSError where that cannot be seen."""
    try:
        (folder / FILE).lstat()
    except FileNotFoundError:
        return False
    return True


def made_of_it(folder: Path) -> list[str]:
    """The files there that are made of a database or belong to one. Raises OSError."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    return [name for name in names if name == f"{FILE}-wal" or name.endswith(SEGMENT)]


def is_begun(folder: Path) -> bool:
    """Whether something is kept there, or is in the way of it."""
    try:
        return is_there(folder) or bool(made_of_it(folder))
    except NotADirectoryError:
        return os.path.lexists(folder)
    except OSError:  # whether something is there nobody can see
        return True


def is_writable(folder: Path) -> bool:
    """Whether galleries there may be written to, or made; as far as rights and mounts tell."""
    file, there = folder / FILE, folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        if not there.is_dir() or os.statvfs(there).f_flag & os.ST_RDONLY:
            return False
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
            return False
        return not file.exists() or os.access(file, os.W_OK, effective_ids=True)
    except OSError:
        return False
