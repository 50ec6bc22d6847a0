"""The triton backend against the real server (`make triton-test`): parity, joined requests, kill -9 and what comes after.

The server is the one in nvidia-pytriton, whose one backend is Python's: it serves what `visage triton-repo --platform
python` writes. Figures are printed.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import httpx2 as httpx
import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the extra visage[triton]; make triton-test has it")

from tritonclient.grpc import service_pb2 as wire

from tests.catalogued import real_file
from tests.golden.references import compare, cosine
from tests.networks import pictures
from tests.parity import SINGLE, apart
from tests.support import REPO, b64, client_of, extract, served, settings_of
from tests.triton_server import TritonServer, packages
from visage.backends import ORACLE, backend
from visage.backends.base import Asking, Largest, Means, ModelFile
from visage.backends.triton.regions import _PREFIX
from visage.backends.triton.repository import Serving, write
from visage.errors import DeadlineExceeded, GraphRejected, InferenceFailed, Overloaded
from visage.faces import Image, ImageBatch
from visage.families import family
from visage.geometry.letterbox import letterbox
from visage.images.decoding import Decoder, Limits
from visage.selftest import FACE
from visage.zoo.catalogue import Entry
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching, data_file
from visage.zoo.store import Store

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(packages() is None, reason="no Triton server is here; make triton-test fetches one"),
]

CATALOGUE = read_catalogue(REPO / "models")
EMBEDDED = ("yunet", "sface")
REAL = [*EMBEDDED, *(name for name in CATALOGUE.entries if real_file(name) and name not in EMBEDDED)]
SERVING = Serving("python", threads=1, max_batch=8)
PICTURE = Decoder(Limits()).decode(data_file("selftest.png").read_bytes())


def prepared(entry: Entry, models_dir: Path, folder: Path) -> ModelFile:
    """The network's file as the service opens it, made in `folder` where it is none of the embedded."""
    largest = Largest(4, (640, 480) if entry.task == "detection" else (112, 112), (640, 640))
    if entry.name in EMBEDDED:
        ready = Store(Fetching(models_dir)).prepare(entry)
    else:
        store = Store(Fetching(folder, offline=True), (entry.licence.id,))
        file = real_file(entry.name)
        assert file is not None
        store.path(entry.name).parent.mkdir(parents=True, exist_ok=True)
        store.path(entry.name).write_bytes(file.read_bytes())
        ready = store.prepare(entry.model_copy(update={"sources": (), "sha256": None, "md5": None, "bytes": None}))
    return ModelFile(entry.name, ready.path, ready.sha256, entry.fed(), 2, entry.stride, largest=largest)


@dataclass(frozen=True)
class Zoo:
    """Every network at hand, and the server that serves all of them."""

    files: dict[str, ModelFile]
    server: TritonServer

    def file(self, name: str, **asking: Any) -> ModelFile:
        return replace(self.files[name], means=Means(servers=(self.server.address,), asking=Asking(**asking)))

    def network(self, name: str, engine: str) -> Any:
        entry = CATALOGUE[name]
        return family(entry.family).build(backend(engine)(self.file(name)), entry.params)


@contextmanager
def running(repository: Path, work: Path) -> Iterator[TritonServer]:
    server = TritonServer(repository, work)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def zoo(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    folder, repository, work = (tmp_path_factory.mktemp(name) for name in ("models", "repository", "work"))
    files = {name: prepared(CATALOGUE[name], models_dir, folder) for name in REAL}
    for file in files.values():
        write(file, repository, SERVING)
    with running(repository, work) as server:
        yield Zoo(files, server)


@pytest.fixture
def pair(models_dir: Path, tmp_path: Path) -> Iterator[Callable[[], TritonServer]]:
    """Starts servers of this test's own, each with the embedded pair."""
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in EMBEDDED:
        write(prepared(CATALOGUE[name], models_dir, tmp_path), repository, replace(SERVING, instances=2))
    with ExitStack() as running_ones:

        def started() -> TritonServer:
            work = tmp_path / f"work-{time.monotonic_ns()}"
            work.mkdir()
            return running_ones.enter_context(running(repository, work))

        yield started


def triton(models_dir: Path, *servers: TritonServer, **more: str) -> dict[str, str]:
    """The settings of a service that asks these servers."""
    uri = ",".join(server.address for server in servers)
    packages = os.pathsep.join([str(REPO / "src"), os.environ.get("PYTHONPATH", "")])  # the client may be by the side
    named = {"MODELS_DIR": str(models_dir), "INFERENCE_BACKEND": "triton", "TRITON_URI": uri, "PYTHONPATH": packages}
    return {**named, **more}


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capturing."""

    def told(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end=" ")

    return told


# -- parity ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd(group: bytes) -> Image:
    return Decoder(Limits()).decode(group)


@pytest.mark.parametrize("name", [name for name in REAL if CATALOGUE[name].task == "detection"])
def test_detectors_find_the_same_faces(zoo: Zoo, crowd: Image, name: str, tell: Callable[[str], None]) -> None:
    oracle, other = zoo.network(name, ORACLE), zoo.network(name, "triton")
    for size in dict.fromkeys(oracle.sizes.nearest(size) for size in ((640, 640), (320, 480))):
        fitted = [letterbox(pixels, size) for pixels in (crowd.pixels, PICTURE.pixels)]
        batch = ImageBatch(np.stack([p for p, _ in fitted]), np.array([s for _, s in fitted]))
        known, found = (one.detect(batch, np.full(2, 0.3, np.float32)) for one in (oracle, other))
        assert len(known[0]) > 10 and len(known[1]) == 1
        assert apart(["group", "selftest"], known, found, 0.3, SINGLE) == []
        worst = min(float(compare("", a, b).overlaps.min()) for a, b in zip(found, known, strict=True))
        tell(f"parity {name} {size}: {len(known[0])} + {len(known[1])} faces, boxes overlap from {worst:.6f}")
    other._session.close()


@pytest.mark.parametrize("name", [name for name in REAL if CATALOGUE[name].task != "detection"])
def test_networks_of_crops_answer_the_same(zoo: Zoo, name: str, tell: Callable[[str], None]) -> None:
    oracle, other = zoo.network(name, ORACLE), zoo.network(name, "triton")
    crop = oracle.crop.cut(PICTURE.pixels, FACE)
    crops = np.concatenate([crop, crop[:, :, ::-1], crop[:, ::-1], crop // 2, 255 - crop])
    crops = np.stack([cv2.resize(one, oracle._session.sizes.fixed) for one in crops])
    for part in (crops[:1], crops):
        for a, b in zip(oracle._session.run(part), other._session.run(part), strict=True):
            near = min(cosine(x, y) for x, y in zip(a, b, strict=True))
            assert near >= SINGLE.cosine
            np.testing.assert_allclose(b, a, atol=1e-3 * np.abs(a).max())
            tell(f"parity {name} ×{len(part)}: cosine from {near:.7f}, off by {np.abs(a - b).max():.2e} at most")
    other._session.close()


def test_the_config_that_was_written_is_the_one_that_is_served(zoo: Zoo) -> None:
    told = zoo.server.asked("ModelConfig", wire.ModelConfigRequest(name="yunet")).config
    assert told.max_batch_size == 8 and told.parameters["visage_sha256"].string_value == zoo.files["yunet"].sha256
    assert list(told.dynamic_batching.preferred_batch_size) == [4, 8] and len(told.model_warmup) == 2
    assert zoo.server.batches("yunet")[8] >= 1  # the warm-up was run


def test_a_picture_that_it_refuses_is_a_failed_inference(zoo: Zoo) -> None:
    session = backend("triton")(zoo.file("sface"))
    with pytest.raises(InferenceFailed, match=r"^sface failed on its server: INVALID_ARGUMENT: "):
        session.run(pictures(1, (32, 32)))
    assert len(session.run(pictures(1, (112, 112)))) == 1
    session.close()


def test_other_weights_of_that_name_stop_the_start(zoo: Zoo) -> None:
    with pytest.raises(GraphRejected, match=r"^yunet: the Triton server .*: its weights have sha256 "):
        backend("triton")(replace(zoo.file("yunet"), sha256="0" * 64))


@pytest.mark.parametrize("shared_memory", [True, False])
def test_pixels_are_shared_where_that_is_wanted_and_nothing_is_left(zoo: Zoo, shared_memory: bool) -> None:
    before = zoo.server.regions()
    session = backend("triton")(zoo.file("sface", shared_memory=shared_memory))
    session.run(pictures(4, (112, 112)))
    mine = zoo.server.regions() - before
    assert len(mine) == (1 if shared_memory else 0)
    session.close()
    assert zoo.server.regions() == before and not any((Path("/dev/shm") / name).exists() for name in mine)


# -- the service ----------------------------------------------------------------------------------------------------


def test_a_service_over_triton_answers_the_same_faces(
    zoo: Zoo, models_dir: Path, hopper: bytes, group: bytes, tell: Callable[[str], None]
) -> None:
    with client_of(settings_of(MODELS_DIR=str(models_dir))) as client:
        known = extract(client, hopper, group)["data"]
    with client_of(settings_of(**triton(models_dir, zoo.server))) as client:
        found = extract(client, hopper, group)["data"]
        told = client.get("/info").json()
        metrics = client.get("/metrics").text
    assert told["visage"]["engines"]["sface"] == {"engine": "triton", "why": "named", "timings": {}}
    assert 'visage_batch_size_count{stage="embedding"}' in metrics
    faces = [(a, b) for x, y in zip(known, found, strict=True) for a, b in zip(x["faces"], y["faces"], strict=True)]
    assert len(faces) == 25
    near = min(cosine(a["vec"], b["vec"]) for a, b in faces)
    off = max(abs(np.array(a["bbox"]) - b["bbox"]).max() for a, b in faces)
    tell(f"service: {len(faces)} faces, cosine from {near:.7f}, boxes off by {off} pixels at most")
    assert near >= SINGLE.cosine and off == 0
    assert all(abs(a["prob"] - b["prob"]) < 1e-4 for a, b in faces)


def test_the_server_joins_requests_of_several_callers(
    pair: Callable[[], TritonServer], models_dir: Path, tmp_path: Path, hopper: bytes, tell: Callable[[str], None]
) -> None:
    server = pair()
    requests = 96
    # One picture and one face a run: what is joined, the server has joined.
    with served(tmp_path, **triton(models_dir, server, REC_BATCH_SIZE="1")) as service:
        warm = {name: _settled(server, name) for name in EMBEDDED}

        def joined(name: str) -> Counter[int]:
            return Counter(server.batches(name)) - warm[name]

        def counted(name: str) -> bool:
            return sum(size * count for size, count in joined(name).items()) >= requests

        with httpx.Client(base_url=service.url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
            for answer in pool.map(lambda _: extract(client, hopper), range(requests)):
                assert len(answer["data"][0]["faces"]) == 1
        for name in EMBEDDED:
            until(partial(counted, name), 30)  # it counts after it has answered
            done = joined(name)
            runs = ", ".join(f"{count} of {size}" for size, count in sorted(done.items()) if count)
            tell(f"{requests} requests, {name}: runs {runs}")
            assert sum(done.values()) < requests and any(count for size, count in done.items() if size > 1)


def _settled(server: TritonServer, name: str) -> Counter[int]:
    """What it has counted, which it does after it has answered: once that stands still."""
    seen = Counter(server.batches(name))
    while True:
        time.sleep(1)
        now = Counter(server.batches(name))
        if now == seen:
            return now
        seen = now


def faces_of(url: str, picture: bytes) -> Any:
    with httpx.Client(base_url=url, timeout=60) as client:
        return extract(client, picture)["data"][0]["faces"]


# -- servers that die -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    began: float
    ended: float
    status: int
    retry_after: str | None
    faces: list[Any]


class Load:
    """`callers` threads that ask for the faces of one picture again and again until they are told to stop."""

    def __init__(self, url: str, picture: bytes, callers: int = 6) -> None:
        self.answers: list[Answer] = []
        self._body = {"images": {"data": [b64(picture)]}}
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ok_since(self, moment: float) -> int:
        return sum(answer.status == 200 for answer in self.answers if answer.began > moment)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                answer = client.post("/extract", json=self._body)
                data = answer.json().get("data", [{}]) if answer.status_code == 200 else [{}]
                status = answer.status_code
                if status == 200 and data[0].get("status") != "ok":
                    status = 503 if "server" in str(data[0]) else 500  # of one image in a batch
                self.answers.append(
                    Answer(began, time.monotonic(), status, answer.headers.get("Retry-After"), data[0].get("faces", []))
                )
                time.sleep(0.005)


def until(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def ours() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"{_PREFIX}*")}


def test_kill_9_of_the_server_is_503_until_it_is_back_and_nothing_hangs_or_is_wrong(
    pair: Callable[[], TritonServer], models_dir: Path, tmp_path: Path, hopper: bytes, tell: Callable[[str], None]
) -> None:
    server = pair()
    with client_of(settings_of(MODELS_DIR=str(models_dir))) as client:
        (known,) = extract(client, hopper)["data"][0]["faces"]
    with served(tmp_path, **triton(models_dir, server)) as service, Load(service.url, hopper) as load:
        until(lambda: len(load.answers) > 50, 60)
        server.kill()
        killed = time.monotonic()
        until(lambda: sum(answer.began > killed + 0.5 for answer in list(load.answers)) > 60, 60)
        down = time.monotonic()
        server.start()
        back = time.monotonic()
        until(lambda: load.ok_since(back) > 50, 60)
        recovered = min(answer.ended for answer in load.answers if answer.began > killed and answer.status == 200)
        ready = httpx.get(f"{service.url}/ready", timeout=60).status_code
        failures = httpx.get(f"{service.url}/metrics", timeout=60).text
        held = server.regions()

    statuses = Counter(answer.status for answer in load.answers)
    meanwhile = [answer for answer in load.answers if killed + 0.5 < answer.began and answer.ended < down]
    longest = max(answer.ended - answer.began for answer in load.answers)
    wrong = [
        answer
        for answer in load.answers
        if answer.status == 200
        and (
            len(answer.faces) != 1
            or answer.faces[0]["bbox"] != known["bbox"]
            or cosine(answer.faces[0]["vec"], known["vec"]) < 0.9999
        )
    ]
    tell(
        f"kill -9: {dict(statuses)}, {len(meanwhile)} while it was down, longest {longest:.2f} s, "
        f"first answer {recovered - back:+.2f} s after the server was ready again"
    )
    assert set(statuses) == {200, 503} and wrong == []
    assert len(meanwhile) > 50 and {answer.status for answer in meanwhile} == {503}
    assert all(int(answer.retry_after or 0) >= 1 for answer in load.answers if answer.status == 503)
    assert longest < 30 and recovered - back < 30  # nothing hangs, on a busy machine either
    assert ready == 200 and 'visage_failures_total{kind="overloaded"}' in failures
    assert held and not (held & ours())  # the service has ended, and taken its memory with it


def test_of_two_servers_one_may_be_killed_and_every_request_is_answered(
    pair: Callable[[], TritonServer], models_dir: Path, tmp_path: Path, hopper: bytes, tell: Callable[[str], None]
) -> None:
    first, second = pair(), pair()
    with served(tmp_path, **triton(models_dir, first, second)) as service, Load(service.url, hopper) as load:
        until(lambda: len(load.answers) > 50, 60)
        first.kill()
        killed = time.monotonic()
        until(lambda: load.ok_since(killed) > 100, 60)
        first.start()
        alone = dict(first.batches("yunet"))
        until(lambda: sum(first.batches("yunet").values()) > sum(alone.values()) + 10, 30)  # it has its turn again
    statuses = Counter(answer.status for answer in load.answers)
    tell(f"one of two killed: {dict(statuses)}")
    assert set(statuses) == {200}


def test_a_server_that_hangs_is_given_up_in_time_and_found_again(zoo: Zoo) -> None:
    session = backend("triton")(zoo.file("sface", seconds=30.0))
    crops = pictures(2, (112, 112))
    expected = session.run(crops)
    patient, session._model = session._model, zoo.file("sface", seconds=1.0)
    zoo.server.pause()
    try:
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            session.run(crops)
        with pytest.raises(Overloaded):
            session.run(crops)
        assert time.monotonic() - begun < 20
        begun = time.monotonic()
        for _ in range(20):
            with pytest.raises(Overloaded):
                session.run(crops)
        assert time.monotonic() - begun < 20  # it is left alone, not waited for twenty times
    finally:
        zoo.server.go_on()
    session._model = patient

    def answered() -> bool:
        try:
            np.testing.assert_allclose(session.run(crops)[0], expected[0], atol=1e-5)
        except Overloaded:
            return False
        return True

    until(answered, 60)
    session.close()


def test_kill_9_of_the_service_leaves_no_memory_once_it_is_started_again(
    pair: Callable[[], TritonServer], models_dir: Path, tmp_path: Path, hopper: bytes
) -> None:
    server = pair()
    before = ours()
    with served(tmp_path, **triton(models_dir, server)) as service:
        faces_of(service.url, hopper)
        left = server.regions()
        os.kill(service.pid, signal.SIGKILL)
        service.process.wait()
    assert left and left <= ours() - before
    with served(tmp_path, **triton(models_dir, server)) as service:
        faces_of(service.url, hopper)
        assert not (left & ours()) and not (left & server.regions()) and server.regions()
    assert server.regions() == set()
    assert not (ours() - before)
