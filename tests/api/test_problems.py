import json
from typing import Any

import pytest

from visage.api.problems import described, kind_of, problem, problem_of, status_of, validation_problem
from visage.errors import (
    DeadlineExceeded,
    ImageError,
    ImageUndecodable,
    InferenceFailed,
    NotReady,
    Overloaded,
    UrlForbidden,
    VisageError,
)


def body(response: Any) -> Any:
    return json.loads(response.body)


def test_a_problem_is_what_rfc_9457_says_and_detail_is_a_text() -> None:
    answer = problem_of(UrlForbidden("169.254.169.254 is not public"))
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert body(answer) == {
        "type": "urn:visage:url-forbidden",
        "title": "Address forbidden",
        "status": 403,
        "detail": "169.254.169.254 is not public",
    }


def test_under_compat_only_the_detail_that_clients_know_is_left() -> None:
    answer = problem_of(ImageUndecodable("no"), compat=True)
    assert answer.headers["content-type"] == "application/json"
    assert (answer.status_code, body(answer)) == (422, {"detail": "no"})


@pytest.mark.parametrize(
    "error", [Overloaded("no", retry_after=7), DeadlineExceeded("no", retry_after=7), NotReady("no", retry_after=7)]
)
@pytest.mark.parametrize("compat", [False, True])
def test_no_room_says_when_to_try_again(error: Overloaded, compat: bool) -> None:
    answer = problem_of(error, compat=compat)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"


def test_other_problems_do_not_invite_another_try() -> None:
    assert "retry-after" not in problem_of(InferenceFailed("no")).headers


def test_an_error_that_the_table_does_not_name_has_the_status_of_its_nearest_ancestor() -> None:
    class Odd(ImageError):
        pass

    class Stranger(VisageError):
        pass

    assert (status_of(Odd()), status_of(Stranger())) == (422, 500)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ImageUndecodable(), "image-undecodable"), (UrlForbidden(), "url-forbidden"), (VisageError(), "visage-error")],
)
def test_an_errors_kind_is_its_name_with_dashes(error: VisageError, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_failed_image_describes_its_error() -> None:
    assert described(ImageUndecodable("cut")) == {
        "type": "urn:visage:image-undecodable",
        "title": "Image undecodable",
        "detail": "cut",
    }


def test_a_problem_without_a_kind_has_the_blank_type_and_may_say_more() -> None:
    answer = problem(404, "Not Found", "Not Found", headers={"X-A": "b"}, incident="abc")
    assert body(answer) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Not Found",
        "incident": "abc",
    }
    assert answer.headers["x-a"] == "b"


FAULT = {"loc": ("body", "threshold"), "msg": "too much", "type": "less_than_equal", "input": 2, "ctx": {"le": 1}}


def test_a_validation_problem_keeps_fastapis_list() -> None:
    answer = validation_problem([FAULT])
    assert answer.status_code == 422
    assert body(answer)["detail"] == [
        {"loc": ["body", "threshold"], "msg": "too much", "type": "less_than_equal", "input": 2}
    ]
    assert body(answer)["type"] == "urn:visage:validation"
    assert body(validation_problem([FAULT], compat=True)) == {"detail": body(answer)["detail"]}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**70, str(2**70)),
        ("short", "short"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "…"),
        (float("nan"), "nan"),
        ([1, 2], "[1, 2]"),
        (b"\xff", "b'\\xff'"),
    ],
)
def test_what_was_sent_is_repeated_but_not_at_length(sent: Any, told: Any) -> None:
    (fault,) = body(validation_problem([FAULT | {"input": sent}]))["detail"]
    assert fault["input"] == told


def test_a_picture_that_was_sent_where_none_belongs_is_not_sent_back() -> None:
    answer = validation_problem([FAULT | {"input": b"\x00" * 1_000_000}, FAULT | {"input": {"data": "A" * 1_000_000}}])
    assert len(answer.body) < 1500


def test_a_fault_without_input_has_none() -> None:
    (fault,) = body(validation_problem([{"loc": ("body",), "msg": "m", "type": "t"}]))["detail"]
    assert fault["input"] is None
