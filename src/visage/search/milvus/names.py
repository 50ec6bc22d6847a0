"""What a gallery's collection is called in Milvus, where a name is of letters, digits and underscores."""

import re

_PREFIX = "visage_"
_PERSONS = "_persons"
_PLAIN = re.compile(r"[a-z0-9]")
_ESCAPE = re.compile(r"_([0-9a-f]{2})")


def escaped(name: str) -> str:
    """Each name its own: what is not a small letter or a digit is `_` and its UTF-8 bytes in hexadecimal digits."""
    return "".join(c if _PLAIN.fullmatch(c) else "".join(f"_{byte:02x}" for byte in c.encode()) for c in name)


def persons(name: str) -> str:
    return f"{_PREFIX}{escaped(name)}{_PERSONS}"


def beginning(name: str) -> str:
    """Of all that a gallery's collection may have in Milvus: `visage_staff_`; no name's escape goes on as `belongs`."""
    return f"{_PREFIX}{escaped(name)}_"


def vectors(name: str, mark: str) -> str:
    """`mark` is another for each collection that is made: one that is made again under the same name is not taken for
    the first one by a process that remembers that.
    """
    return f"{beginning(name)}vectors_{mark}"


def crops(name: str, mark: str) -> str:
    return f"{beginning(name)}pictures_{mark}"


def belongs(collection: str, name: str) -> bool:
    """Whether a collection of Milvus is one of this gallery's."""
    rest = collection.removeprefix(beginning(name))
    return rest != collection and rest.startswith(("persons", "vectors_", "pictures_"))


def gallery(collection: str) -> str | None:
    """The name of the gallery's collection whose persons a collection of Milvus holds; None where it is another."""
    if not (collection.startswith(_PREFIX) and collection.endswith(_PERSONS)):
        return None
    raw = collection[len(_PREFIX) : -len(_PERSONS)]
    try:
        name = _ESCAPE.sub(lambda found: f"%{found[1]}", raw)
        return re.sub(r"(?:%[0-9a-f]{2})+", lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), name)
    except UnicodeDecodeError:
        return None
