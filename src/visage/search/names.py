"""What collections, persons and faces may be called: the API's routes and the command line hold to it alike."""

import re

from visage.errors import SearchError

COLLECTION = r"^[a-z0-9][a-z0-9_-]{0,62}$"
ID = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"  # a person's, a face's

COLLECTION_IN_WORDS = "1 to 63 lower-case letters, digits, _ and -, the first of them a letter or digit"


def is_collection(name: str) -> bool:
    return re.fullmatch(COLLECTION, name) is not None and "\n" not in name


def hold_collection(name: str, remedy: str = "") -> None:
    """Raises SearchError for a name under which no route would find the collection. `remedy`: what else to give."""
    if not is_collection(name):
        raise SearchError(f"{name!r} can be no collection's name: {COLLECTION_IN_WORDS}{remedy}")
