"""Vectors in every form that the wire knows."""

import base64

import numpy as np
import pytest

from visage.api.v1.vectors import read_vector, written_vector

UNIT = np.array([0.6, -0.8], np.float32)


@pytest.mark.parametrize(
    "value", [[3, -4], [0.6, -0.8], UNIT.tobytes(), base64.b64encode((UNIT * 7).tobytes()).decode()]
)
def test_every_form_is_read_and_made_unit_length(value: object) -> None:
    found = read_vector(value)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, UNIT, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "1 to 8192"),
        ([0, 0.0], "length 0"),
        ([float("nan"), 1], "finite"),
        ([1e308, 1e308], "finite"),
        ([10**400], "finite"),
        ([True, 1], "a list of"),
        (["1"], "a list of"),
        ([1] * 8193, "a list of"),
        ("no base64!", "base64"),
        (b"12345", "4 bytes"),
        ({"a": 1}, "a list of"),
        (None, "a list of"),
    ],
)
def test_what_is_no_vector_is_refused(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_vector(value)


def test_they_are_written_as_they_are_read() -> None:
    assert written_vector(UNIT, "numbers").dtype == np.float64
    for form in ("base64", "bytes"):
        assert (read_vector(written_vector(UNIT, form)) == UNIT).all()  # type: ignore[arg-type]
