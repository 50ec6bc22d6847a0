import inspect
import re

import pytest

from visage import errors
from visage.api.problems import STATUS, status_of
from visage.errors import DeadlineExceeded, NotReady, Overloaded, VisageError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, VisageError)]

# Statuses of the wire contract and of the architecture's table; what is not the caller's fault is 500.
STATUSES = {
    "ImageError": 422,
    "ImageUndecodable": 422,
    "CropRejected": 422,
    "UnsupportedFormat": 415,
    "ImageTooLarge": 413,
    "PathForbidden": 403,
    "UrlForbidden": 403,
    "ImageUnreachable": 502,
    "RequestTooLarge": 413,
    "UnknownContentCoding": 415,
    "BodyBroken": 400,
    "Overloaded": 503,
    "DeadlineExceeded": 503,
    "ModelUnavailable": 503,
    "DeviceLost": 503,
    "NotReady": 503,
    "ServiceStopping": 503,
    "RateLimited": 429,
    "InferenceFailed": 500,
    "Unauthorised": 401,
    "Forbidden": 403,
    "NoRecogniser": 501,
    "NoFace": 422,
    "ThresholdUnknown": 422,
    "KeyReused": 409,
    "BackupRefused": 500,
    "SearchError": 422,
    "CollectionMissing": 404,
    "PersonMissing": 404,
    "FaceMissing": 404,
    "AlreadyThere": 409,
    "NothingEnrolled": 422,
    "RowInvalid": 422,
    "AnswerNotRead": 422,
    "EmbeddingMismatch": 409,
    "StoreUnavailable": 503,
    "VisageError": 500,
    "ConfigurationError": 500,
    "UnknownModel": 500,
    "UnknownFamily": 500,
    "BackendUnavailable": 501,
    "ModelFileError": 500,
    "DownloadFailed": 500,
    "ChecksumMismatch": 500,
    "LicenceNotAccepted": 500,
    "GraphRejected": 500,
    "SelfTestFailed": 500,
}


def drawn() -> dict[str, str]:
    """Child → parent in the tree of the module's docstring."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([ │├└─]*)([A-Z]\w+)\b(?! on purpose)", line):
            depth, name = len(found[1]), found[2]
            if depth == 0 and name != "VisageError":
                continue
            above = [node for node in above if node[0] < depth]
            if above:
                parents[name] = above[-1][1]
            above.append((depth, name))
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn() == {kind.__name__: kind.__base__.__name__ for kind in ALL if kind is not VisageError}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_the_status_that_the_contract_gives_it(kind: type[VisageError]) -> None:
    assert status_of(kind("why")) == STATUSES[kind.__name__]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_title_of_its_own_and_says_its_line(kind: type[VisageError]) -> None:
    assert kind.title and [other for other in ALL if other.title == kind.title] == [kind]
    assert str(kind("why")) == "why"


def test_the_table_of_statuses_names_only_errors() -> None:
    assert set(STATUS) <= set(ALL)


@pytest.mark.parametrize("kind", [Overloaded, DeadlineExceeded, NotReady])
def test_what_is_worth_trying_again_says_when(kind: type[Overloaded]) -> None:
    assert kind("no room").retry_after == 1
    assert kind("no room", retry_after=7).retry_after == 7


def test_no_http_is_in_the_errors_module() -> None:
    assert not re.search(r"\b(4\d\d|5\d\d)\b|starlette|fastapi", inspect.getsource(errors))
