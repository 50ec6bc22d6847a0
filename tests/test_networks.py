from pathlib import Path

import pytest

from tests.support import loaded_of
from visage.networks import Loaded, Networks, described, stamp_of

NEAR, FAR = loaded_of("near", "scrfd", "a"), loaded_of("far", "yunet", "b")
ONE, TWO = loaded_of("one", "arcface", "c"), loaded_of("two", "arcface", "d")
AGES = loaded_of("ages", "genderage", "e")
ALL = Networks.of({"det": NEAR, "rec": ONE, "ga": AGES}, [TWO, FAR])


@pytest.mark.parametrize(
    ("det", "rec", "expected"),
    [
        (None, None, [NEAR, ONE, AGES]),
        ("far", None, [FAR, ONE, AGES]),
        (None, "two", [NEAR, TWO, AGES]),
        ("far", "two", [FAR, TWO, AGES]),
        ("near", "one", [NEAR, ONE, AGES]),
    ],
)
def test_a_request_is_answered_by_those_it_names_and_else_by_the_defaults(
    det: str | None, rec: str | None, expected: list[Loaded]
) -> None:
    assert list(ALL.answering(det=det, rec=rec).items()) == list(zip(("det", "rec", "ga"), expected, strict=True))


def test_roles_keep_their_order_where_only_a_named_network_has_one() -> None:
    networks = Networks.of({"det": NEAR, "ga": AGES}, [TWO])
    assert list(networks.answering()) == ["det", "ga"]
    assert described(networks.answering(rec="two")) == {
        "det": "near@aaaaaaaaaaaa",
        "rec": "two@dddddddddddd",
        "ga": "ages@eeeeeeeeeeee",
    }


def test_the_default_is_the_first_that_can_be_named_and_is_there_once() -> None:
    networks = Networks.of({"det": NEAR, "rec": ONE}, [TWO, ONE, NEAR])
    assert {role: list(models) for role, models in networks.named.items()} == {"det": ["near"], "rec": ["one", "two"]}
    assert [(role, model.entry.name) for role, model in networks.all()] == [
        ("det", "near"),
        ("rec", "one"),
        ("rec", "two"),
    ]


def test_a_file_that_was_replaced_has_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    assert stamp_of(file) is None
    file.write_bytes(b"one")
    before = stamp_of(file)
    assert before is not None and stamp_of(file) == before
    file.write_bytes(b"three")
    assert stamp_of(file) != before
