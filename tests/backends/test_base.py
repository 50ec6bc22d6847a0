import sys
from importlib.metadata import version

import numpy as np
import pytest

from tests.networks import FixedSession, pictures
from tests.runnable import RUNNABLE
from visage import backends
from visage.backends import BACKENDS, PACKAGES, REMOTE, backend, installed
from visage.backends.base import Preprocess, Sizes, run_in_batches
from visage.errors import BackendUnavailable


@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        (Preprocess(0, 1, "bgr"), [10, 20, 30]),
        (Preprocess(0, 1, "rgb"), [30, 20, 10]),
        (Preprocess(10, 5, "bgr"), [0, 2, 4]),
        (Preprocess(10, 5, "rgb"), [4, 2, 0]),
    ],
)
def test_preprocessing_orders_colours_then_takes_the_mean_off_then_divides(
    preprocess: Preprocess, expected: list[float]
) -> None:
    pixels = np.array([10, 20, 30], np.uint8).reshape(1, 1, 1, 3)

    assert preprocess(pixels).reshape(3).tolist() == expected


def test_preprocessing_puts_the_channels_where_the_layout_wants_them() -> None:
    pixels = pictures(2, (5, 4))
    planes = Preprocess(layout="nchw", colours="bgr")(pixels)
    rows = Preprocess(layout="nhwc", colours="bgr")(pixels)

    assert planes.shape == (2, 3, 4, 5) and rows.shape == (2, 4, 5, 3)
    assert planes.dtype == rows.dtype == np.float32
    assert planes.flags.c_contiguous and rows.flags.c_contiguous
    assert planes[1, 2, 3, 4] == rows[1, 3, 4, 2] == pixels[1, 3, 4, 2]


@pytest.mark.parametrize(
    ("sizes", "wanted", "accepted"),
    [
        (Sizes(), (640, 640), (640, 640)),
        (Sizes(), (650, 500), (640, 480)),
        (Sizes(), (31, 1), (32, 32)),
        (Sizes(stride=64), (650, 100), (640, 64)),
        (Sizes((320, 256)), (640, 640), (320, 256)),
        (Sizes(most=(640, 480)), (2048, 300), (640, 288)),
        (Sizes(most=(640, 480)), (320, 2048), (320, 480)),
    ],
)
def test_the_accepted_size_is_the_fixed_one_or_the_next_smaller_multiple(
    sizes: Sizes, wanted: tuple[int, int], accepted: tuple[int, int]
) -> None:
    assert sizes.nearest(wanted) == accepted


@pytest.mark.parametrize(("max_batch", "runs"), [(0, [5]), (1, [1] * 5), (2, [2, 2, 1]), (8, [5])])
def test_pictures_are_run_as_many_at_a_time_as_the_session_takes(max_batch: int, runs: list[int]) -> None:
    session = FixedSession(np.arange(5, dtype=np.float32)[:, None], max_batch=max_batch)
    answers = run_in_batches(session, pictures(5, (4, 4)))

    assert session.runs == runs
    assert np.concatenate([outputs[0] for outputs in answers]).ravel().tolist() == [0, 1, 2, 3, 4]


def test_no_pictures_are_no_run() -> None:
    session = FixedSession(max_batch=0)

    assert run_in_batches(session, pictures(0, (4, 4))) == [] and session.runs == []


@pytest.mark.parametrize("name", [*RUNNABLE, "triton"])
def test_every_backend_that_can_run_here_is_found(name: str) -> None:
    if name == "triton":
        pytest.importorskip("tritonclient.grpc", reason="needs the extra visage[triton]")
    assert callable(backend(name))


def test_an_unknown_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(BackendUnavailable, match=r"^INFERENCE_BACKEND='mxnet' is not one of: .*onnx"):
        backend("mxnet")


def test_a_backend_whose_library_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "other", "no_such_library.session:open_session")
    with pytest.raises(BackendUnavailable, match=r"'other' needs a package that is not installed: .*no_such_library"):
        backend("other")


@pytest.mark.parametrize("name", ["openvino", "triton"])
def test_what_is_missing_for_an_extra_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(BACKENDS, name, "no_such_library.session:open_session")
    with pytest.raises(BackendUnavailable, match=rf"'{name}' needs .*: pip install visage\[{name}\]$"):
        backend(name)


def test_what_is_installed_is_told_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"onnx", "openvino"} <= installed().keys() <= PACKAGES.keys()
    assert BACKENDS.keys() - REMOTE == PACKAGES.keys()  # those that a race may choose
    monkeypatch.setitem(PACKAGES, "openvino", "no-such-package")
    assert installed()["onnx"] == version("onnxruntime") and "openvino" not in installed()


@pytest.mark.parametrize("there", [[], ["NVIDIA A10", "NVIDIA L4"]])
def test_tensorrt_is_raced_only_where_there_is_a_gpu_whose_name_belongs_to_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, there: list[str]
) -> None:
    monkeypatch.setitem(PACKAGES, "trt", "numpy")  # which is installed
    monkeypatch.setattr(backends, "gpus", lambda: there)
    assert installed().get("trt") == (f"{version('numpy')} on NVIDIA A10" if there else None)


def test_what_is_missing_for_tensorrt_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "visage.backends.trt", raising=False)
    with pytest.raises(BackendUnavailable, match=r"'trt' needs a package .*: pip install visage\[trt\]$"):
        backend("trt")
