"""Which recogniser's vectors these are."""

from visage.backends.base import Preprocess
from visage.search.base import Recogniser
from visage.zoo.catalogue import Entry
from visage.zoo.hashes import named


def identity(entry: Entry, sha256: str, dimension: int) -> Recogniser:
    """Of the network `entry`, whose weights' file has the hash `sha256` and whose vectors have `dimension` numbers."""
    return Recogniser(entry.name, sha256, fed_text(entry.fed()), dimension)


def described(recogniser: Recogniser) -> str:
    """As X-Visage-Models and errors tell it: sface@fb143eea0783."""
    return named(recogniser.name, recogniser.sha256)


def fed_text(fed: Preprocess) -> str:
    """How pixels become the network's numbers, in words that change whenever it does."""
    return f"aligned 112x112 {fed.colours} {fed.layout} (x-{fed.mean:g})/{fed.std:g}"
