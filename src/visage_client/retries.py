"""When a call is worth another try, and after how long."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

_WORTH_ANOTHER = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Retries:
    """`patience`: seconds from the first try in which another one may begin; 0 for none.

    A busy service says in Retry-After when to come again. Where nothing is said, and where the connection broke, the
    pause is `first` seconds at most and doubles up to `most`, each time a random part of it, so that many clients do
    not come back together. A connection is tried `connections` times.
    """

    patience: float = 60.0
    first: float = 0.25
    most: float = 8.0
    connections: int = 4

    def after_answer(self, status: int, headers: Mapping[str, str], tried: int, elapsed: float) -> float | None:
        """Seconds to wait after this answer; None: it stands."""
        if status not in _WORTH_ANOTHER:
            return None
        said = headers.get("retry-after", "").strip()
        pause = float(said) if re.fullmatch(r"\d{1,9}", said) else self._guess(tried)
        return pause if elapsed + pause < self.patience else None

    def after_failure(self, tried: int, elapsed: float) -> float | None:
        """Seconds to wait after the connection failed; None: no more."""
        pause = self._guess(tried)
        return pause if tried < self.connections and elapsed + pause < self.patience else None

    def _guess(self, tried: int) -> float:
        """`tried` times so far, 1 at least."""
        longest: float = self.first * 2.0 ** min(tried - 1, 30)
        return min(self.most, longest) * random.uniform(0.5, 1)  # noqa: S311 — no secret
