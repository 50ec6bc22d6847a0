"""Whether a question is one that a store answers."""

from visage.errors import SearchError
from visage.search.base import Question

MOST_TOP = 10_000


def hold_top(question: Question) -> None:
    """Raises SearchError."""
    if not 1 <= question.top <= MOST_TOP:
        raise SearchError(f"top is {question.top}: at least 1, at most {MOST_TOP}")
