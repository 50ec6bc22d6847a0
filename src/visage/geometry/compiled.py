"""The decorator of what is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """numba's `njit` without the interpreter's lock, its machine code kept on disk where a folder can be written.

    On a read-only system without a home folder nothing can be kept: it is then compiled anew at every start,
    during warm-up as always.
    """

    def decorate(function: F) -> F:
        try:
            made: F = numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba: "cannot cache function …: no locator available"
            made = numba.njit(nogil=True, **options)(function)
        return made

    return decorate
