"""Filters: Milvus answers as the embedded store does, whatever is asked of whatever is there."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.search.conftest import place_of
from tests.search.galleries import enrolment, new, opened, unit
from tests.search.milvus.test_expressions import METADATA, WHERE
from visage.search.base import Question, Store

PEOPLE = 120


def people() -> list[Any]:
    """Metadata of all kinds, the same in each run."""
    found: list[Any] = []

    @settings(max_examples=4 * PEOPLE, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(METADATA)
    def draw(metadata: Any) -> None:
        found.append(metadata)

    draw()
    return [one for n, one in enumerate(found) if one not in found[:n]][:PEOPLE]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["milvus", "milvus-lite", pytest.param("milvus-server", marks=pytest.mark.milvus)])
def test_filters_mean_the_same_as_in_the_embedded_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    vectors = unit(PEOPLE)
    everybody = [enrolment(f"p{n}", [(f"f{n}", vectors[n])], metadata=metadata) for n, metadata in enumerate(people())]
    with opened(tmp_path / "embedded") as embedded, place_of(kind, request, tmp_path).opened() as milvus:
        for store in (embedded, milvus):
            store.create(new())
            store.enrol("staff", everybody)

        @settings(
            max_examples=60 if kind == "milvus-server" else 150,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(WHERE)
        def hold_alike(where: Any) -> None:
            assert listed(milvus, where) == listed(embedded, where)
            assert found(milvus, where) == found(embedded, where)

        def listed(store: Store, where: Any) -> list[str]:
            return [person.id for person in store.persons("staff", where=where, limit=1000)]

        def found(store: Store, where: Any) -> list[str]:
            (matches,) = store.search("staff", vectors[:1], Question(top=3, where=where))
            return [match.person.id for match in matches]

        hold_alike()
