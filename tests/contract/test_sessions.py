"""What every session does that computes on this machine's cores, whatever the network."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.networks import Axis, Embedder, dense, model_file, pictures, save, yunet_heads
from tests.runnable import RUNNABLE
from visage.backends import backend
from visage.backends.base import Preprocess, Session, Sizes
from visage.errors import GraphRejected, InferenceFailed

every_backend = pytest.mark.parametrize("name", RUNNABLE)


def opened(name: str, path: Path, feed: Preprocess | None = None, threads: int = 1) -> Session:
    return backend(name)(replace(model_file(path, feed), threads=threads))


@every_backend
@pytest.mark.parametrize(
    ("batch", "size", "sizes", "max_batch"),
    [
        ("n", ("h", "w"), Sizes(), 0),
        (1, ("h", "w"), Sizes(), 1),
        (4, (64, 96), Sizes((96, 64)), 4),
        ("n", (64, 96), Sizes((96, 64)), 0),
    ],
)
def test_the_axes_of_the_file_say_what_sizes_and_batches_it_takes(
    tmp_path: Path, name: str, batch: Axis, size: tuple[Axis, Axis], sizes: Sizes, max_batch: int
) -> None:
    session = opened(name, dense(tmp_path / "a.onnx", yunet_heads(), batch=batch, size=size))
    assert (session.sizes, session.max_batch) == (sizes, max_batch)


@every_backend
def test_a_network_of_any_size_takes_multiples_of_the_stride_that_it_is_said_to_have(tmp_path: Path, name: str) -> None:
    file = replace(model_file(dense(tmp_path / "a.onnx", yunet_heads())), stride=64)
    assert backend(name)(file).sizes.nearest((650, 100)) == (640, 64)


@every_backend
def test_a_network_of_rows_of_colours_is_read_by_its_own_layout(tmp_path: Path, name: str) -> None:
    path = Embedder.of(4).save(tmp_path / "a.onnx", layout="nhwc", side=8)
    assert opened(name, path, Preprocess(layout="nhwc")).sizes == Sizes((8, 8))


@every_backend
@pytest.mark.parametrize(("made", "fed"), [("nchw", "nhwc"), ("nhwc", "nchw")])
def test_a_layout_that_the_file_does_not_have_is_rejected(tmp_path: Path, name: str, made: str, fed: str) -> None:
    path = Embedder.of(4).save(tmp_path / "a.onnx", layout=made)  # type: ignore[arg-type]
    with pytest.raises(GraphRejected, match=f"^a: .*input.* has shape .*not {fed} of 3"):
        opened(name, path, Preprocess(layout=fed))  # type: ignore[arg-type]


@every_backend
def test_a_network_of_several_inputs_is_rejected_with_their_names(tmp_path: Path, name: str) -> None:
    shape: list[Axis] = ["n", 3, 8, 8]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    add = helper.make_node("Add", ["left", "right"], ["y"])
    path = save(tmp_path / "a.onnx", [add], [("left", shape), ("right", shape)], [output])
    with pytest.raises(GraphRejected, match="one input expected, the file wants: left, right"):
        opened(name, path)


@every_backend
@pytest.mark.parametrize("data", [b"", b"<html>", bytes(100)])
def test_a_file_that_is_no_network_is_rejected_in_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    with pytest.raises(GraphRejected, match=r"^a: \w+( Runtime)? cannot load a\.onnx: \S") as caught:
        opened(name, path)
    assert "\n" not in str(caught.value)


@every_backend
def test_pictures_that_the_network_cannot_take_are_a_failed_inference(tmp_path: Path, name: str) -> None:
    session = opened(name, dense(tmp_path / "a.onnx", yunet_heads(), batch=1, size=(64, 64)))
    with pytest.raises(InferenceFailed, match=r"^a failed on \(2, 64, 64, 3\): ") as caught:
        session.run(pictures(2, (64, 64)))
    assert "\n" not in str(caught.value)
    assert len(session.run(pictures(1, (64, 64)))) == 12  # and the session lives on


@every_backend
def test_outputs_come_in_the_order_of_the_file(tmp_path: Path, name: str) -> None:
    heads = yunet_heads()[::-1]
    got = opened(name, dense(tmp_path / "a.onnx", heads)).run(pictures(1, (64, 32)))
    assert [out.shape[2] for out in got] == [head.columns for head in heads]


@every_backend
def test_views_and_pictures_that_nobody_may_write_to_are_read_alike(tmp_path: Path, name: str) -> None:
    session = opened(name, dense(tmp_path / "a.onnx", yunet_heads()))
    large = pictures(3, (96, 64))
    view, frozen = large[::2, :32, 32:], large[::2, :32, 32:].copy()
    frozen.setflags(write=False)
    expected = session.run(frozen.copy())
    for given in (view, frozen):
        for a, b in zip(session.run(given), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@every_backend
@pytest.mark.parametrize("identity", [False, True])
def test_each_run_s_arrays_are_its_own_fault_16(tmp_path: Path, name: str, identity: bool) -> None:
    if identity:  # a network whose output is its input, and another that is a constant: nothing to compute into
        shape: list[Axis] = ["n", 3, 8, 8]
        nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["c"], ["z"])]
        outputs = [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [2]),
        ]
        constant = numpy_helper.from_array(np.ones(2, np.float32), "c")
        path = save(tmp_path / "a.onnx", nodes, [("x", shape)], outputs, [constant])
    else:
        path = Embedder.of(4).save(tmp_path / "a.onnx", side=8)
    session = opened(name, path)
    pixels = pictures(2, (8, 8))
    first = session.run(pixels)
    kept = [out.copy() for out in first]
    second = session.run(255 - pixels)

    for a, b, before in zip(first, second, kept, strict=True):
        assert not np.shares_memory(a, b) and not np.shares_memory(a, pixels)
        b[:] = -1
        np.testing.assert_array_equal(a, before)


@every_backend
@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_at_once_get_the_answers_of_one_fault_16(tmp_path: Path, name: str, threads: int) -> None:
    session = opened(name, dense(tmp_path / "a.onnx", yunet_heads()), threads=threads)
    batches = [pictures(1 + i % 3, (64, 32 * (1 + i % 2)), seed=i) for i in range(48)]
    alone = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session.run, batches))
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@every_backend
def test_a_closed_session_answers_nothing(tmp_path: Path, name: str) -> None:
    session = opened(name, Embedder.of(4).save(tmp_path / "a.onnx", side=8))
    session.run(pictures(1, (8, 8)))
    session.close()
    with pytest.raises(InferenceFailed, match=r"^a failed on"):
        session.run(pictures(1, (8, 8)))
