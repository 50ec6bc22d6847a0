"""What is used of TensorRT is what 10 has, as it was written down, and what 11 has."""

import inspect
from typing import Any

import pytest

from tests.backends.tensorrt.recorded import CLASSES, NAMES_10, TENSORRT_10
from visage.backends.tensorrt import library


def used(of: str) -> dict[str, int]:
    """The members of one of our protocols, with how many arguments each call takes."""
    protocol = getattr(library, of)
    names = {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}
    members = {name: inspect.getattr_static(protocol, name, None) for name in names}
    return {
        name: len(inspect.signature(member).parameters) - 1 if inspect.isfunction(member) else 0
        for name, member in members.items()
    }


@pytest.mark.parametrize("of", CLASSES)
def test_all_that_is_used_is_in_tensorrt_10_with_as_many_arguments(of: str) -> None:
    recorded = {name: len(arguments) for name, arguments in TENSORRT_10[of].items()}
    assert used(of) == recorded
    assert used("Library").keys() == NAMES_10


def test_every_protocol_is_held_against_the_record() -> None:
    protocols = {
        name for name, one in vars(library).items() if getattr(one, "_is_protocol", False) and name != "Protocol"
    }
    assert protocols == {*CLASSES, "Library"}


@pytest.mark.rtx
@pytest.mark.parametrize("of", CLASSES)
def test_all_that_is_used_is_in_tensorrt_11(of: str) -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: make rtx-test")
    assert used(of).keys() <= set(dir(getattr(trt, CLASSES[of]))), f"{CLASSES[of]} of TensorRT {trt.__version__}"
    assert used("Library").keys() <= set(dir(trt))
