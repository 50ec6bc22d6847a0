"""What a check says."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "doubtful", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """bad: a start would fail, or the service never be ready. `remedy` is empty where nothing is to be done, or where
    `what` says it.
    """

    about: str
    verdict: Verdict
    what: str
    remedy: str = ""


def amount(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
