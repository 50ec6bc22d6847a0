from typing import Any

import pytest

from visage.geometry.compiled import compiled


def _function_without_a_file() -> Any:
    """numba finds no folder for the machine code of such a one, as on a read-only system."""
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", names)
    return names["double"]


def test_numba_itself_refuses_to_keep_code_that_has_no_folder() -> None:
    numba = pytest.importorskip("numba")
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(_function_without_a_file())


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same() -> None:
    assert compiled()(_function_without_a_file())(21) == 42
