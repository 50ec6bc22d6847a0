"""What the catalogue says a file must be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visage.zoo.catalogue import Entry, Place
from visage.zoo.transfer import digest


@dataclass(frozen=True, slots=True)
class Hash:
    """A published hash; sha256 where it is known, else md5, which tells damage but no forger."""

    kind: Literal["sha256", "md5"]
    value: str

    def agrees(self, path: Path, sha256: str) -> bool:
        """Whether the file at `path`, whose sha256 is known already, is the one meant."""
        return (sha256 if self.kind == "sha256" else digest(path, "md5")) == self.value

    def __str__(self) -> str:
        return self.value if self.kind == "sha256" else f"md5 {self.value}"


def expected(entry: Entry, place: Place | None = None) -> Hash | None:
    """What a file from `place` must be: that source's own hash, else the entry's; None where neither is known."""
    for of in (place, entry):
        if of is not None and of.sha256 is not None:
            return Hash("sha256", of.sha256)
        if of is not None and of.md5 is not None:
            return Hash("md5", of.md5)
    return None


def is_known(entry: Entry) -> bool:
    """Whether any hash of the entry or of one of its sources is known."""
    return any(expected(entry, place) is not None for place in (None, *entry.sources))


def agrees(path: Path, sha256: str, entry: Entry) -> bool:
    """Whether a file is what the entry or one of its sources says."""
    known = {expected(entry, place) for place in (None, *entry.sources)}
    return any(one.agrees(path, sha256) for one in known if one is not None)


def named(name: str, sha256: str) -> str:
    """A network and its weights as answers, X-Visage-Models and errors tell them: sface@fb143eea0783."""
    return f"{name}@{sha256[:12]}"
