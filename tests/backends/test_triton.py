"""The triton backend against a server in this process; against the real one: tests/contract/test_triton.py."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the extra visage[triton]")

import grpc

from tests.kserve import FakeTriton, serving
from tests.networks import Embedder, dense, model_file, pictures, scrfd_heads, yunet_heads
from tests.support import Clock
from visage.backends.base import Asking, Means, ModelFile, Preprocess, Session, Sizes
from visage.backends.onnx import open_session as open_oracle
from visage.backends.triton import regions, server
from visage.backends.triton.regions import on_this_machine
from visage.backends.triton.session import TritonSession, open_session
from visage.errors import (
    BackendUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    GraphRejected,
    InferenceFailed,
    Overloaded,
)
from visage.faces import Floats

# How long only a fault takes, on a busy machine too.
LONG = 30.0
PATIENT = Asking(seconds=LONG, shared_memory=False)
SHARING = Asking(seconds=LONG)


def asked_of(file: ModelFile, *addresses: str, asking: Asking = PATIENT) -> ModelFile:
    return replace(file, means=Means(servers=addresses, asking=asking))


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFile:
    return model_file(dense(tmp_path / "tiny.onnx", yunet_heads()), Preprocess(127.5, 128.0, "rgb"))


@pytest.fixture
def fake(tiny: ModelFile) -> FakeTriton:
    return FakeTriton(tiny.path, "tiny", weights=tiny.sha256)


@pytest.fixture(autouse=True)
def _of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions that other tests share at the same time have other names; a look fails only where it is made to."""
    monkeypatch.setattr(regions, "_PREFIX", f"{regions._PREFIX}{os.getpid()}-")
    monkeypatch.setattr(server, "_LOOK_SECONDS", LONG)


class Held:
    """Put into `FakeTriton.answers`: an answer is ready and not given until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __call__(self, response: Any) -> Any:
        self.let_go.wait(2 * LONG)
        return response


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.let_go.set()


def waits(session: TritonSession, seconds: float) -> None:
    """From now on it waits so long for an answer."""
    means = session._model.means
    session._model = replace(session._model, means=replace(means, asking=replace(means.asking, seconds=seconds)))


class Opened:
    """A session over fakes that listen until the test ends."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def __call__(self, file: ModelFile, *fakes: FakeTriton, asking: Asking = PATIENT) -> TritonSession:
        addresses = [self._held.enter_context(serving(fake)) for fake in fakes]
        session = open_session(asked_of(file, *addresses, asking=asking))
        self._held.callback(session.close)
        return session

    def close(self) -> None:
        self._held.close()


@pytest.fixture
def opened() -> Any:
    made = Opened()
    yield made
    made.close()


Open = Callable[..., TritonSession]


def same(got: tuple[Floats, ...], expected: tuple[Floats, ...]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == np.float32 and a.flags.writeable
        np.testing.assert_allclose(a, b, atol=1e-6)


# -- what it answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asking", [PATIENT, SHARING], ids=["sent", "shared"])
@pytest.mark.parametrize("heads", [scrfd_heads(), yunet_heads()], ids=["scrfd", "yunet"])
def test_its_outputs_are_the_oracle_s_in_the_file_s_order(
    tmp_path: Path, opened: Open, heads: Any, asking: Asking
) -> None:
    for colours in ("rgb", "bgr"):
        file = model_file(dense(tmp_path / "a.onnx", heads), Preprocess(127.5, 128.0, colours))  # type: ignore[arg-type]
        session: Session = opened(file, FakeTriton(file.path, "a"), asking=asking)
        assert session.sizes == Sizes() and session.max_batch == 16 and session.streams == 8
        for size in ((96, 64), (32, 160)):
            same(session.run(pictures(3, size)), open_oracle(file).run(pictures(3, size)))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_network_of_crops_is_fed_in_its_layout(tmp_path: Path, opened: Open, layout: Any) -> None:
    file = model_file(Embedder.of(8).save(tmp_path / "a.onnx", layout=layout), Preprocess(127.5, 64.0, layout=layout))
    session = opened(file, FakeTriton(file.path, "a"), asking=SHARING)
    assert session.sizes == Sizes((112, 112))
    same(session.run(pictures(3, (112, 112))), open_oracle(file).run(pictures(3, (112, 112))))


def test_a_file_of_fixed_batch_is_filled_up(tmp_path: Path, opened: Open) -> None:
    file = model_file(dense(tmp_path / "a.onnx", yunet_heads(), batch=4, size=(64, 96)))
    session = opened(file, FakeTriton(file.path, "a", max_batch=0))
    assert (session.sizes, session.max_batch) == (Sizes((96, 64)), 4)
    same(session.run(pictures(3, (96, 64))), open_oracle(file).run(pictures(3, (96, 64))))


def test_servers_of_different_batches_are_asked_what_all_of_them_take(tiny: ModelFile, opened: Open) -> None:
    fakes = [FakeTriton(tiny.path, "tiny", max_batch=most) for most in (8, 0, 3)]
    assert opened(tiny, *fakes).max_batch == 3


@pytest.mark.parametrize("asking", [PATIENT, SHARING], ids=["sent", "shared"])
def test_several_threads_at_once_get_the_answers_of_one_fault_16(
    tiny: ModelFile, fake: FakeTriton, opened: Open, asking: Asking
) -> None:
    session = opened(tiny, fake, asking=asking)
    batches = [pictures(1 + i % 3, (64, 32 * (1 + i % 2)), seed=i) for i in range(48)]
    oracle = open_oracle(tiny)
    with ThreadPoolExecutor(12) as pool:
        for got, batch in zip(pool.map(session.run, batches), batches, strict=True):
            same(got, oracle.run(batch))


# -- what is refused at the start -----------------------------------------------------------------------------------


def test_without_servers_it_cannot_be(tiny: ModelFile) -> None:
    with pytest.raises(ConfigurationError, match=r"needs TRITON_URI"):
        open_session(tiny)


def _renamed(said: Any) -> Any:
    said.inputs[0].name = "data"
    return said


def _of_other_type(said: Any) -> Any:
    said.inputs[0].datatype = "UINT8"
    return said


def _of_one_size(said: Any) -> Any:
    said.inputs[0].shape[2:] = [640, 640]
    return said


def _of_other_layout(said: Any) -> Any:
    said.inputs[0].shape[:] = [-1, -1, -1, 3]
    return said


def _of_two_inputs(said: Any) -> Any:
    said.inputs.add(name="more", datatype="FP32", shape=[1])
    return said


def _without_an_output(said: Any) -> Any:
    del said.outputs[0]
    return said


def _with_other_columns(said: Any) -> Any:
    next(output for output in said.outputs if output.name == "kps_8").shape[2] = 8
    return said


def _with_half_precision(said: Any) -> Any:
    next(output for output in said.outputs if output.name == "kps_8").datatype = "FP16"
    return said


@pytest.mark.parametrize(
    ("says", "difference"),
    [
        (_renamed, r"its input is 'data' FP32 \[-1, 3, -1, -1\], the file's 'input' FP32 \[-1, 3, -1, -1\]"),
        (_of_other_type, r"its input is 'input' UINT8"),
        (_of_one_size, r"its input is 'input' FP32 \[-1, 3, 640, 640\]"),
        (_of_other_layout, r"its input is 'input' FP32 \[-1, -1, -1, 3\]"),
        (_of_two_inputs, r"it has 2 inputs, the file one"),
        (_without_an_output, r"it has no output 'kps_32'"),
        (_with_other_columns, r"its output is 'kps_8' FP32 \[-1, -1, 8\], the file's 'kps_8' FP32 \[-1, -1, 10\]"),
        (_with_half_precision, r"its output is 'kps_8' FP16"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_server_with_another_network_of_that_name_stops_the_start(
    tiny: ModelFile, fake: FakeTriton, says: Any, difference: str
) -> None:
    fake.says = says
    with serving(fake) as address, pytest.raises(GraphRejected, match=f"^tiny: .*{address}.*{difference}.*; write"):
        open_session(asked_of(tiny, address))


def test_a_server_with_other_weights_stops_the_start(tiny: ModelFile, fake: FakeTriton) -> None:
    fake.weights = "ab" * 32
    said = rf"^tiny: .*: its weights have sha256 {'ab' * 6}…, the file's {tiny.sha256[:12]}…"
    with serving(fake) as address, pytest.raises(GraphRejected, match=said):
        open_session(asked_of(tiny, address))


@pytest.mark.parametrize("says", [True, False])
def test_a_server_that_does_not_say_of_which_weights_it_is_is_said_to_be_unverified(
    tiny: ModelFile, fake: FakeTriton, opened: Open, says: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fake.weights = tiny.sha256 if says else None
    opened(tiny, fake).run(pictures(1, (32, 32)))
    assert caplog.text.count("unverified") == (0 if says else 1)


@pytest.mark.parametrize(
    ("batch", "layout", "said"),
    [("n", "nhwc", r"the input is 'input' FP32 \[-1, 3, -1, -1\], not nhwc of 3")],
)
def test_a_file_that_is_not_as_it_is_fed_is_rejected(tmp_path: Path, batch: str, layout: Any, said: str) -> None:
    file = model_file(dense(tmp_path / "a.onnx", yunet_heads(), batch=batch), Preprocess(layout=layout))
    with pytest.raises(GraphRejected, match=said):
        open_session(asked_of(file, "127.0.0.1:9"))


@pytest.mark.parametrize("data", [b"<html>", bytes(100)])
def test_a_file_that_is_no_network_is_rejected_without_its_folder(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(GraphRejected, match=r"^a: ") as caught:
        open_session(asked_of(model_file(tmp_path / "a.onnx"), "127.0.0.1:9"))
    assert str(tmp_path) not in str(caught.value)


def test_where_no_server_answers_the_start_ends_and_says_which_and_why(tiny: ModelFile, fake: FakeTriton) -> None:
    asking = replace(PATIENT, seconds=0.5)
    fake.away = grpc.StatusCode.UNAVAILABLE
    with serving(fake) as address, serving(FakeTriton(tiny.path, "other")) as other:
        begun = time.monotonic()
        with pytest.raises(BackendUnavailable, match=r"^no server of TRITON_URI answers for tiny: ") as caught:
            open_session(asked_of(tiny, address, other, asking=asking))
        assert 0.4 < time.monotonic() - begun < LONG
    assert f"{address}: UNAVAILABLE: away" in str(caught.value)
    assert f"{other}: NOT_FOUND: Request for unknown model" in str(caught.value)


def test_a_server_that_is_still_starting_is_waited_for(tiny: ModelFile, fake: FakeTriton, opened: Open) -> None:
    fake.away = grpc.StatusCode.UNAVAILABLE
    with serving(fake) as address, ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_session, asked_of(tiny, address))
        while not fake.calls["look"]:
            time.sleep(0.01)
        fake.away = None
        opening.result(2 * LONG).close()


# -- what goes wrong later ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
@pytest.mark.parametrize("asking", [PATIENT, SHARING], ids=["sent", "shared"])
def test_what_the_server_refuses_is_a_failed_inference_and_the_session_lives_on(
    tiny: ModelFile, fake: FakeTriton, opened: Open, status: Any, asking: Asking
) -> None:
    session = opened(tiny, fake, asking=asking)
    fake.refuses = status
    with pytest.raises(InferenceFailed, match=f"^tiny failed on its server: {status.name}: a reason$"):
        session.run(pictures(1, (32, 32)))
    fake.refuses = None
    session.run(pictures(1, (32, 32)))


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED]
)
@pytest.mark.parametrize("asking", [PATIENT, SHARING], ids=["sent", "shared"])
def test_a_server_that_is_away_is_no_room_and_is_found_again(
    tiny: ModelFile,
    fake: FakeTriton,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    status: Any,
    asking: Asking,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock(1000.0)
    monkeypatch.setattr(server, "time", clock)
    session = opened(tiny, fake, asking=asking)
    session.run(pictures(1, (32, 32)))
    fake.away = status

    def refused() -> int:
        """How often the server was called for it."""
        before = fake.calls.total()
        with pytest.raises(Overloaded, match=r"^no server answers for tiny now$") as caught:
            session.run(pictures(1, (32, 32)))
        assert type(caught.value) is Overloaded and 1 <= caught.value.retry_after <= 6
        return fake.calls.total() - before

    assert refused() == (2 if asking.shared_memory else 1)  # a run, and telling of the region again
    for pause in (0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0):
        assert [refused() for _ in range(20)] == [0] * 20
        clock.now += 0.79 * pause
        assert refused() == 0
        clock.now += 0.42 * pause
        assert refused() == 1  # a look
    fake.away = None
    with pytest.raises(Overloaded):
        session.run(pictures(1, (32, 32)))
    clock.now += 1.21 * 5.0
    same(session.run(pictures(2, (32, 32))), open_oracle(tiny).run(pictures(2, (32, 32))))
    said = [r.message for r in caplog.records if "Triton at" in r.message]
    assert len(said) == 3 and "is left alone for tiny" in said[1] and "answers for tiny" in said[2]


def test_a_server_that_does_not_answer_in_time_is_given_up_and_looked_at_before_it_is_asked_again(
    tiny: ModelFile, fake: FakeTriton, opened: Open, held: Held
) -> None:
    session = opened(tiny, fake)
    fake.answers = held
    waits(session, 0.3)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"^tiny was not answered in time by its server$"):
        session.run(pictures(1, (32, 32)))
    assert 0.25 < time.monotonic() - begun < LONG
    fake.answers = None
    waits(session, LONG)
    looks = fake.calls["look"]
    session.run(pictures(1, (32, 32)))
    assert fake.calls["look"] == looks + 1


def _one_too_few(response: Any) -> Any:
    del response.outputs[0], response.raw_output_contents[0]
    return response


def _for_another_count(response: Any) -> Any:
    for tensor, i in zip(response.outputs, range(99), strict=False):
        tensor.shape[0] -= 1
        response.raw_output_contents[i] = response.raw_output_contents[i][: 4 * math.prod(tensor.shape)]
    return response


def _cut_off(response: Any) -> Any:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-4]
    return response


@pytest.mark.parametrize("wrong", [_one_too_few, _for_another_count, _cut_off])
def test_an_answer_to_another_question_is_none(tiny: ModelFile, fake: FakeTriton, opened: Open, wrong: Any) -> None:
    session = opened(tiny, fake)
    fake.answers = wrong
    with pytest.raises(InferenceFailed, match=r"^tiny: '\w+' FP32 \[-1, -1, \d+\] expected of 2, its server gave: "):
        session.run(pictures(2, (32, 32)))


def test_servers_take_turns_and_what_one_loses_the_next_one_answers(
    tiny: ModelFile, fake: FakeTriton, opened: Open
) -> None:
    other = FakeTriton(tiny.path, "tiny")
    session = opened(tiny, fake, other)
    for _ in range(10):
        session.run(pictures(1, (32, 32)))
    assert fake.calls["run"] == other.calls["run"] == 5
    fake.away = grpc.StatusCode.UNAVAILABLE
    for _ in range(10):
        same(session.run(pictures(1, (32, 32))), open_oracle(tiny).run(pictures(1, (32, 32))))
    assert fake.calls["run"] <= 7
    fake.away = None
    until = time.monotonic() + 2 * LONG
    while fake.calls["run"] < 12 and time.monotonic() < until:
        session.run(pictures(1, (32, 32)))
        time.sleep(0.01)
    assert fake.calls["run"] >= 12


def test_one_server_that_is_away_does_not_stop_the_start(tiny: ModelFile, fake: FakeTriton, opened: Open) -> None:
    other = FakeTriton(tiny.path, "tiny", away=grpc.StatusCode.UNAVAILABLE)
    session = opened(tiny, other, fake)
    for _ in range(4):
        session.run(pictures(1, (32, 32)))


@pytest.mark.parametrize("change", ["weights", "batch"])
def test_a_server_that_comes_back_with_another_network_is_not_asked(
    tiny: ModelFile,
    fake: FakeTriton,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server, "_TRUSTED_SECONDS", 0.05)
    session = opened(tiny, fake)
    session.run(pictures(1, (32, 32)))
    fake.weights, fake.max_batch = ("ab" * 32, 16) if change == "weights" else (tiny.sha256, 8)
    time.sleep(0.1)  # long enough that it may have been started anew unseen
    runs = fake.calls["run"]
    with pytest.raises(Overloaded):
        session.run(pictures(1, (32, 32)))
    assert fake.calls["run"] == runs
    assert "serves another network of that name" in caplog.text


def test_a_closed_session_answers_nothing(tiny: ModelFile, fake: FakeTriton, opened: Open) -> None:
    session = opened(tiny, fake)
    session.close()
    with pytest.raises((InferenceFailed, Overloaded)):
        session.run(pictures(1, (32, 32)))


# -- shared memory --------------------------------------------------------------------------------------------------


def ours() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"{regions._PREFIX}*")}


def test_pixels_are_shared_not_sent_and_nothing_is_left(tiny: ModelFile, fake: FakeTriton, opened: Open) -> None:
    session = opened(tiny, fake, asking=SHARING)
    for size in ((32, 32), (640, 640), (64, 32)):
        session.run(pictures(2, size))
    assert fake.sent == 0
    assert len(fake.regions) == 1 and set(fake.regions) <= ours()  # one caller, one region, grown once
    (name,) = fake.regions
    assert (Path("/dev/shm") / name).stat().st_mode & 0o777 == 0o600  # they show faces
    session.close()
    assert not fake.regions and name not in ours()


def test_a_server_that_cannot_read_this_memory_is_sent_pixels_and_that_is_said_once(
    tiny: ModelFile, fake: FakeTriton, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    fake.shares = False
    session = opened(tiny, fake, asking=SHARING)
    before = ours()
    for _ in range(3):
        same(session.run(pictures(2, (64, 32))), open_oracle(tiny).run(pictures(2, (64, 32))))
    assert fake.sent == 3 * 2 * 3 * 64 * 32 * 4 and ours() <= before
    assert caplog.text.count("pixels are sent to Triton") == 1


def test_a_server_that_was_started_anew_is_told_of_its_regions_again(
    tiny: ModelFile, fake: FakeTriton, opened: Open
) -> None:
    session = opened(tiny, fake, asking=SHARING)
    session.run(pictures(1, (32, 32)))
    fake.regions.clear()
    same(session.run(pictures(2, (32, 32))), open_oracle(tiny).run(pictures(2, (32, 32))))
    assert fake.sent == 0 and len(fake.regions) == 1


def test_a_picture_that_is_refused_costs_no_shared_memory(tiny: ModelFile, fake: FakeTriton, opened: Open) -> None:
    session = opened(tiny, fake, asking=SHARING)
    fake.refuses = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(InferenceFailed):
        session.run(pictures(1, (32, 32)))
    fake.refuses = None
    session.run(pictures(1, (32, 32)))
    assert fake.sent == 0 and len(fake.regions) == 1 and fake.calls["unshare"] == 0


def test_a_region_that_is_still_in_use_is_let_go_of_a_moment_later(
    tiny: ModelFile, fake: FakeTriton, opened: Open
) -> None:
    session = opened(tiny, fake, asking=SHARING)
    session.run(pictures(1, (32, 32)))
    fake.busy = 3
    session.close()
    assert not fake.regions and fake.busy == 0


def test_a_server_that_can_read_it_no_more_is_sent_pixels(tiny: ModelFile, fake: FakeTriton, opened: Open) -> None:
    session = opened(tiny, fake, asking=SHARING)
    session.run(pictures(1, (32, 32)))
    fake.regions.clear()
    fake.shares = False
    same(session.run(pictures(2, (32, 32))), open_oracle(tiny).run(pictures(2, (32, 32))))
    assert fake.sent > 0


def test_memory_that_a_late_server_may_still_read_is_not_written_to(
    tiny: ModelFile, fake: FakeTriton, opened: Open, held: Held
) -> None:
    session = opened(tiny, fake, asking=SHARING)
    session.run(pictures(1, (32, 32)))
    (first,) = fake.regions
    fake.answers = held
    waits(session, 0.2)
    with pytest.raises(DeadlineExceeded):
        session.run(pictures(1, (32, 32)))
    fake.answers = None
    waits(session, LONG)
    session.run(pictures(1, (32, 32)))
    assert len(fake.regions) == 2 and first in fake.regions
    held.let_go.set()
    session.close()
    assert not fake.regions


def test_what_a_killed_process_left_is_removed_here_and_on_the_server(
    tiny: ModelFile, fake: FakeTriton, opened: Open
) -> None:
    left = Path("/dev/shm") / f"{regions._PREFIX}{'0' * 8}{id(fake):08x}"
    left.write_bytes(bytes(64))
    gone = f"{regions._PREFIX}gone{id(fake):x}"
    fake.regions |= {left.name: (f"/{left.name}", 64), gone: (f"/{gone}", 64), "others": ("/others", 64)}
    alive = regions.Region(64)  # another process's, as far as locks can tell
    try:
        opened(tiny, fake, asking=SHARING).run(pictures(1, (32, 32)))
        assert not left.exists() and alive.name in ours()
        assert left.name not in fake.regions and gone not in fake.regions and "others" in fake.regions
    finally:
        alive.close()
    assert alive.name not in ours()


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:8001", True),
        ("127.9.9.9:1", True),
        ("localhost:8001", True),
        ("[::1]:8001", True),
        ("unix:/run/triton.sock", True),
        ("10.0.0.1:8001", False),
        ("triton:8001", False),
        ("[2001:db8::1]:8001", False),
    ],
)
def test_which_servers_are_on_this_machine(address: str, here: bool) -> None:
    assert on_this_machine(address) is here
