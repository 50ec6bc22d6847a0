"""AsyncClient is Client with await: the same names, arguments and answers."""

import asyncio
import base64
import inspect
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client.fake import BROKEN, Fake, embedding
from tests.client.test_many import cut_off
from visage_client import AsyncClient, Client, NewPerson, NoAnswer, NotFound, Retries, Row, Unavailable
from visage_client.binding import Method

PATIENT = Retries(first=0.001, most=0.002)


def run(fake: Fake, work: Callable[[AsyncClient], Any], **how: Any) -> Any:
    async def worked() -> Any:
        transport = httpx.MockTransport(fake.aside)
        async with AsyncClient("http://fake", transport=transport, **{"retries": PATIENT, **how}) as client:
            return await work(client)

    return asyncio.run(worked())


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def methods(kind: type) -> dict[str, str | None]:
    return {name: value.__doc__ for name, value in vars(kind).items() if isinstance(value, Method)}


def test_both_clients_have_the_same_methods_each_with_its_text() -> None:
    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) >= 27
    assert all(methods(Client).values())


@pytest.mark.parametrize("name", methods(Client))
def test_both_take_the_same_arguments(name: str) -> None:
    with Client() as one:
        taken = [inspect.signature(getattr(client, name)).parameters for client in (one, AsyncClient())]
    assert taken[0] == taken[1]
    assert "call" not in taken[0]


@pytest.mark.parametrize("form", ["msgpack", "json"])
def test_a_collection_from_its_making_to_its_end(fake: Fake, form: str) -> None:
    async def work(client: AsyncClient) -> None:
        await client.create_collection("staff")
        assert (await client.enrol("staff", id="grace", images=b"one")).person.faces == 1
        done = await listed(client.enrol_all("staff", [NewPerson("a", images=b"two"), NewPerson("b", images="no.jpg")]))
        assert [one.enrolled is not None for one in done] == [True, False]
        report = await client.bulk_enrol("staff", [Row([[1, 0, 0, 0]], id="c"), Row([[1.0]], id="bad")])
        assert (report.persons, [one.row for one in report.failures]) == (1, [1])
        assert [person.id async for person in client.persons("staff", page_size=2)] == ["a", "c", "grace"]
        assert (await client.search("staff", images=b"one")).probes[0].matches[0].person.id == "grace"
        assert (await client.compare(b"one", embedding(b"one"))).same
        rows = await listed(client.export("staff"))
        assert [row.vector for row in rows][:2] == [array("f", embedding(b"one")), array("f", embedding(b"two"))]
        assert (await client.draw_detections(b"one")) == b"drawn"
        await client.delete_collection("staff")
        with pytest.raises(NotFound):
            await client.collection("staff")
        with pytest.raises(NotFound):
            await listed(client.export("staff"))

    run(fake, work, form=form)


def test_every_picture_has_its_outcome_in_its_place(fake: Fake, tmp_path: Path) -> None:
    images = [b"one", BROKEN, tmp_path / "absent.jpg", *(b"%d" % i for i in range(20))]
    told: list[int] = []

    async def work(client: AsyncClient) -> list[Any]:
        return await listed(client.embed_all(images, batch=3, workers=4, progress=lambda done, _: told.append(done)))

    found = run(fake, work)
    assert [image.status for image in found] == ["ok", "failed", "failed"] + ["ok"] * 20
    assert [image.faces[0].embedding for image in found[3:]] == [array("f", embedding(b"%d" % i)) for i in range(20)]
    assert told[-1] == 23


def test_at_most_so_many_requests_are_on_their_way(fake: Fake) -> None:
    inside = most = 0
    full = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        """Held until three came, however long that takes, and for a moment in which a fourth might."""
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)
        inside -= 1
        return fake(request)

    async def work() -> None:
        async with AsyncClient("http://fake", transport=httpx.MockTransport(answer)) as client:
            await listed(client.detect_all([b"one"] * 12, batch=1, workers=3))

    asyncio.run(work())
    assert most == 3


def test_work_that_is_left_is_cancelled(fake: Fake) -> None:
    async def work(client: AsyncClient) -> int:
        found = client.detect_all([b"one"] * 100, batch=1, workers=1)
        async for _ in found:
            break
        await found.aclose()  # type: ignore[attr-defined] # a generator
        return len(asyncio.all_tasks())

    assert run(fake, work) == 1
    assert len(fake.seen) < 10


def test_a_busy_service_is_asked_again_and_given_up_in_the_end(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("visage_client.async_client.asyncio.sleep", noted)
    fake.before = [httpx.Response(503, headers={"Retry-After": "7"}), httpx.ReadError("reset")]
    assert run(fake, lambda client: client.info()).version == "0.1.0"
    assert pauses[0] == 7 and len(pauses) == 2
    fake.before = [httpx.Response(503, headers={"Retry-After": "3600"})]
    with pytest.raises(Unavailable):
        run(fake, lambda client: client.info())
    fake.before = [httpx.ConnectError("refused")] * 9
    with pytest.raises(NoAnswer, match="no service at"):
        run(fake, lambda client: client.info())


def test_what_is_given_is_judged_as_by_the_other_client(fake: Fake) -> None:
    async def work(client: AsyncClient) -> None:
        picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(90)).decode()
        found = await listed(client.detect_all([picture, "no picture " * 999, b"two"]))
        assert [image.status for image in found] == ["ok", "failed", "ok"]
        assert {seen.headers["authorization"] for seen in fake.seen} == {"Bearer vk_x"}
        sent = len(fake.seen)
        with pytest.raises(TypeError, match="NewPersons are wanted"):
            await listed(client.enrol_all("staff", "ada"))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="no 'nam'"):
            await client.bulk_enrol("staff", {"nam": "Ada", "vectors": [[1.0]]})
        assert len(fake.seen) == sent

    run(fake, work, key="vk_x\n")


def test_a_bulk_enrolment_that_was_cut_off_goes_on(fake: Fake) -> None:
    fake.before = [cut_off("service-stopping", 1), *[httpx.ConnectError("refused")] * 6]
    fake.collections["staff"] = {"about": {}, "people": {}}

    async def enrol(client: AsyncClient) -> Any:
        return await client.bulk_enrol("staff", [Row([[1, 0, 0, 0]], id=f"p{i}") for i in range(3)])

    assert run(fake, enrol).persons == 3
