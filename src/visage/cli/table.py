"""Columns for a terminal and for `grep` alike: nothing is cut off."""

from collections.abc import Sequence


def lines(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """`head` and `rows` as text, each column as wide as its widest cell."""
    texts = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts
    )
