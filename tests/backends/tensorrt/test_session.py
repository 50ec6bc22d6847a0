"""What runs on a GPU, run on memory and streams of this machine (fakes.py tells what that proves)."""

import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.tensorrt.fakes import Cuda, CudaError, TensorRT10
from tests.networks import Embedder, dense, model_file, pictures, scrfd_heads
from visage.backends.base import Largest, Means, ModelFile, Preprocess, Sizes
from visage.backends.onnx import open_session as oracle
from visage.backends.tensorrt.session import TrtSession, opened
from visage.errors import BackendUnavailable, DeviceLost, GraphRejected, InferenceFailed, Overloaded

FEED = Preprocess(127.5, 128.0, "rgb")


class House:
    """A detector's file, and the libraries that its sessions are opened with."""

    def __init__(self, folder: Path) -> None:
        path = dense(folder / "det.onnx", scrfd_heads())
        self.model = replace(model_file(path, FEED), largest=Largest(4, (96, 64), (128, 128)), kept=folder / "kept")
        self.library, self.cuda = TensorRT10(), Cuda()

    def open(self, model: ModelFile | None = None, **means: Any) -> TrtSession:
        return opened(self.library, self.cuda, replace(model or self.model, means=Means(**means)))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def same(a: Any, b: Any) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_it_answers_as_onnx_runtime_does_for_every_size_and_batch_in_the_file_s_order_fault_03(house: House) -> None:
    session, known = house.open(), oracle(house.model)

    assert (session.sizes, session.max_batch, session.streams) == (Sizes(None, 32, (128, 128)), 4, 2)
    for count, size in [(1, (96, 64)), (4, (128, 128)), (2, (32, 32)), (1, (96, 64)), (3, (64, 96))]:
        pixels = pictures(count, size, seed=count)
        same(session.run(pixels), known.run(pixels))


@pytest.mark.parametrize("feed", [FEED, Preprocess(0.0, 1.0, "bgr"), Preprocess(127.5, 127.5, "rgb", "nhwc")], ids=str)
def test_crops_of_every_feed_are_answered_as_onnx_runtime_does_fault_03(tmp_path: Path, feed: Preprocess) -> None:
    path = Embedder.of(8).save(tmp_path / "rec.onnx", layout=feed.layout, side=16)
    model = replace(model_file(path, feed), largest=Largest(4, (16, 16), (16, 16)))
    session, pixels = opened(TensorRT10(), Cuda(), model), pictures(3, (16, 16))
    assert session.sizes == Sizes((16, 16))
    same(session.run(pixels), oracle(model).run(pixels))
    same(session.run(pixels[:, ::-1]), oracle(model).run(pixels[:, ::-1]))  # not in one piece in memory


def test_a_file_of_fixed_batch_takes_fewer(house: House, tmp_path: Path) -> None:
    model = replace(house.model, path=dense(tmp_path / "two.onnx", scrfd_heads(), batch=2))
    session, pixels = house.open(model), pictures(1, (96, 64))
    assert session.max_batch == 2
    same(session.run(pixels), oracle(house.model).run(pixels))


def test_each_run_s_arrays_are_its_own_fault_16(house: House) -> None:
    session, pixels = house.open(), pictures(2, (64, 64))
    first = session.run(pixels)
    kept = [out.copy() for out in first]
    for _ in range(3):  # every lane
        for out in session.run(255 - pixels):
            out[:] = -1
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_allocated_on_the_device_by_a_run(house: House) -> None:
    session = house.open()
    taken = house.cuda.taken
    for count in (4, 1, 3):
        session.run(pictures(count, (128, 96)))
    assert house.cuda.taken == taken and len(house.cuda.streams) == len(house.library.contexts) == 2


def test_callers_run_side_by_side_each_with_its_own_answers_fault_16(house: House) -> None:
    session, known = house.open(), oracle(house.model)
    batches = [pictures(1 + i % 3, (64, 32 * (1 + i % 2)), seed=i) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for got, pixels in zip(pool.map(session.run, batches), batches, strict=True):
            same(got, known.run(pixels))


def test_a_run_waits_for_its_stream_once(house: House) -> None:
    session = house.open()
    session.run(pictures(2, (64, 64)))
    (stream,) = [one for one in house.cuda.streams if one.runs]
    assert stream.runs == [1 + 1 + 1 + len(scrfd_heads())]  # up, fill, compute, an output down each


def test_a_shape_that_comes_again_is_recorded_and_replayed_until_another_comes(house: House) -> None:
    known, lane = oracle(house.model), house.open(cuda_graphs=True)._idle[0]
    launched = []
    for i, size in enumerate([(64, 64)] * 4 + [(96, 64)] + [(64, 64)] * 3):
        pixels = pictures(2, size, seed=i)
        same(lane.run(pixels), known.run(pixels))
        launched.append(lane._graph.launched if lane._graph else None)
    # Seen, recorded, replayed twice; another shape forgets it.
    assert launched == [None, 0, 1, 2, None, None, 0, 1]


def test_a_network_that_cannot_be_recorded_runs_without(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session, pixels = house.open(cuda_graphs=True), pictures(1, (64, 64))

    def refuses(_: Any) -> Any:
        raise CudaError(900, "operation not permitted when stream is capturing")

    for stream in house.cuda.streams:
        monkeypatch.setattr(stream, "end_capture", refuses.__get__(stream))
        monkeypatch.setattr(stream, "begin_capture", lambda: None)
    for _ in range(6):
        session.run(pixels)
    assert 1 <= caplog.text.count("TRT_CUDA_GRAPHS has no effect") <= 2


# -- what fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sick", "error"),
    [
        (CudaError(2, "cudaErrorMemoryAllocation: out of memory"), Overloaded),
        (MemoryError("Out of memory allocating 512 bytes"), Overloaded),
        (CudaError(1, "cudaErrorInvalidValue: invalid argument\nof a call"), InferenceFailed),
    ],
)
def test_an_error_of_the_gpu_fails_its_run_and_the_session_lives_on(house: House, sick: Any, error: Any) -> None:
    session, pixels = house.open(), pictures(1, (64, 64))
    house.cuda.sick = sick
    for _ in range(3):
        with pytest.raises(error, match=r"^det failed on \(1, 64, 64, 3\): ") as caught:
            session.run(pixels)
        assert "\n" not in str(caught.value)
    house.cuda.sick = None
    same(session.run(pixels), oracle(house.model).run(pixels))


ILLEGAL = CudaError(700, "cudaErrorIllegalAddress: an illegal memory access was encountered\nat line 1")
LOST = r"cudaErrorIllegalAddress: an illegal memory access was encountered; CUDA serves this process no more"


def test_a_device_that_is_lost_is_told_apart(house: House) -> None:
    session = house.open()
    house.cuda.sick = ILLEGAL
    for _ in range(3):
        with pytest.raises(DeviceLost, match=rf"^det failed on \(1, 64, 64, 3\): {LOST}") as caught:
            session.run(pictures(1, (64, 64)))
        assert "\n" not in str(caught.value)


def test_where_tensorrt_tells_it_in_words_alone_its_stream_tells_the_number(house: House) -> None:
    session = house.open()
    house.library.run_refusal = "Error Code 1: Cuda Runtime (an illegal memory access was encountered)"
    house.cuda.sick = ILLEGAL
    with pytest.raises(DeviceLost, match=LOST):
        session.run(pictures(1, (64, 64)))


@pytest.mark.parametrize("later", [False, True])
def test_a_lost_device_costs_no_engine(house: House, monkeypatch: pytest.MonkeyPatch, later: bool) -> None:
    house.open()
    (kept,) = (house.model.kept or Path()).glob("*.engine")
    before = kept.read_bytes()
    if later:  # once the engine is loaded

        def lost(*_: Any) -> Any:
            raise ILLEGAL

        monkeypatch.setattr(house.cuda, "empty", lost)
    else:
        house.cuda.sick = ILLEGAL
    with pytest.raises(DeviceLost, match=f"^det cannot be loaded: {LOST}"):
        house.open()
    assert house.library.built == 1 and kept.read_bytes() == before


@pytest.mark.parametrize(
    ("said", "error"), [("Error Code 1: Cuda Runtime (out of memory)", Overloaded), ("Error Code 3", InferenceFailed)]
)
def test_an_engine_that_does_not_start_says_why(house: House, said: str, error: Any) -> None:
    session = house.open()
    house.library.run_refusal = said
    with pytest.raises(error, match="memory is full" if error is Overloaded else "did not start: Error Code 3"):
        session.run(pictures(1, (64, 64)))
    house.library.run_refusal = ""
    session.run(pictures(1, (64, 64)))


def test_what_the_engine_was_not_built_for_is_a_failed_inference(house: House) -> None:
    session = house.open()
    with pytest.raises(InferenceFailed, match=r"was not built for 1×3×160×64"):
        session.run(pictures(1, (64, 160)))
    with pytest.raises(InferenceFailed, match="at most 4 pictures in a run"):
        session.run(pictures(5, (64, 64)))
    same(session.run(pictures(1, (64, 64))), oracle(house.model).run(pictures(1, (64, 64))))


def test_a_gpu_that_has_no_room_is_told_with_the_remedy(house: House) -> None:
    house.cuda.room = 100_000
    with pytest.raises(
        BackendUnavailable, match=r"^det cannot be held by this GPU: Out of memory .*; fewer NUM_WORKERS"
    ):
        house.open()
    house.cuda.room, house.library.no_context = 1 << 30, True
    with pytest.raises(BackendUnavailable, match="no execution context"):
        house.open()


def test_no_gpu_is_told(house: House) -> None:
    house.cuda.capability = ""
    with pytest.raises(BackendUnavailable, match=r"^INFERENCE_BACKEND=trt finds no GPU: cudaErrorInsufficientDriver"):
        house.open()


def test_outputs_whose_size_the_picture_decides_are_rejected(house: House) -> None:
    house.library.unknown_shapes = True
    with pytest.raises(GraphRejected, match="will be depends on what the picture shows"):
        house.open()


# -- engines that are there -----------------------------------------------------------------------------------------


def test_the_engine_is_kept_and_opened_again(house: House) -> None:
    house.open()
    house.open()
    (engine,) = (house.model.kept or Path()).glob("*.engine")
    assert house.library.built == 1 and engine.name.startswith("det.tensorrt-10.13.0.sm86.fp32.")


@pytest.mark.parametrize("change", ["gpu", "library", "precision", "batch", "file"])
def test_another_gpu_library_precision_profile_or_file_is_another_engine_fault_11(house: House, change: str) -> None:
    house.open()
    model = house.model
    if change == "gpu":
        house.cuda.capability = "89"
    elif change == "library":
        house.library.__version__ = "10.14.0"  # type: ignore[misc]  # this one's alone
    elif change == "batch":
        model = replace(model, largest=replace(model.largest, batch=8))
    elif change == "file":
        model = replace(model, path=dense(model.path.with_name("other.onnx"), scrfd_heads()[::-1]))
    house.open(model, fp16=change == "precision")
    assert house.library.built == 2
    house.open(model, fp16=change == "precision")
    assert house.library.built == 2


@pytest.mark.parametrize("fp16", [False, True])
def test_half_precision_differs_and_single_does_not_fault_11(house: House, fp16: bool) -> None:
    pixels = pictures(2, (96, 64))
    off = max(
        float(np.abs(a - b).max())
        for a, b in zip(house.open(fp16=fp16).run(pixels), oracle(house.model).run(pixels), strict=True)
    )
    assert 1e-5 < off < 1e-2 if fp16 else off < 1e-5


@pytest.mark.parametrize(("refused", "built"), [(1, 1), (2, 2)])
def test_an_engine_that_tensorrt_refuses_is_looked_at_twice_then_built_anew(
    house: House, caplog: pytest.LogCaptureFixture, refused: int, built: int
) -> None:
    house.open()
    house.library.refused = refused  # another process may have built it between the two looks
    with caplog.at_level(logging.INFO):
        house.open()
    assert house.library.built == built
    assert ("building its TensorRT engine: incompatible serialization version" in caplog.text) is (built == 2)


# -- the end --------------------------------------------------------------------------------------------------------


def test_a_closed_session_holds_nothing_and_answers_nothing(house: House) -> None:
    session = house.open()
    session.run(pictures(1, (64, 64)))
    contexts, engine = [weakref.ref(one) for one in house.library.contexts], weakref.ref(session._engine)
    house.library.contexts.clear()
    freed = house.cuda.freed
    session.close()
    gc.collect()
    assert [one() for one in (*contexts, engine)] == [None] * 3 and house.cuda.freed == freed + 2
    with pytest.raises(InferenceFailed, match=r"^det failed: its session is closed"):
        session.run(pictures(1, (64, 64)))


def test_close_waits_for_what_runs_and_refuses_what_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    session = house.open()
    started, go = threading.Barrier(session.streams + 1), threading.Event()
    for stream in house.cuda.streams:
        real = stream.synchronize

        def slow(real: Any = real) -> None:
            started.wait(60)
            go.wait(60)
            real()

        monkeypatch.setattr(stream, "synchronize", slow)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(session.run, pictures(1, (64, 64))) for _ in range(session.streams)]
        started.wait(60)
        waiting = pool.submit(session.run, pictures(1, (64, 64)))
        closing = pool.submit(session.close)
        with pytest.raises(InferenceFailed, match="its session is closed"):
            waiting.result(60)
        assert not closing.done()
        go.set()
        assert all(len(one.result(60)) == len(scrfd_heads()) for one in running)
        closing.result(60)
