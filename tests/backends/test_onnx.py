import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.networks import Axis, Embedder, dense, model_file, pictures, save, yunet_heads
from tests.support import REPO
from visage.backends.base import Preprocess, Sizes
from visage.backends.onnx import open_session
from visage.backends.planes import fed_shape, filled
from visage.errors import GraphRejected, InferenceFailed


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
    tmp_path: Path, batch: Axis, size: tuple[Axis, Axis], sizes: Sizes, max_batch: int
) -> None:
    session = open_session(model_file(dense(tmp_path / "a.onnx", yunet_heads(), batch=batch, size=size)))

    assert (session.sizes, session.max_batch) == (sizes, max_batch)


def test_a_network_of_any_size_takes_multiples_of_the_stride_that_it_is_said_to_have(tmp_path: Path) -> None:
    file = replace(model_file(dense(tmp_path / "a.onnx", yunet_heads())), stride=64)

    assert open_session(file).sizes.nearest((650, 100)) == (640, 64)


def test_memory_does_not_grow_with_the_number_of_shapes(models_dir: Path) -> None:
    # In a process of its own, where nothing else takes or gives back memory. Measured with 400 shapes: 6 MB more than
    # after the largest alone; 21 MB more if ONNX Runtime keeps a memory pattern for each.
    script = """
import sys, numpy, psutil
from pathlib import Path
from visage.backends.base import ModelFile, Preprocess
from visage.backends.onnx import open_session
session = open_session(ModelFile("yunet", Path(sys.argv[1]), "0" * 64, Preprocess(), threads=1))
def used(*sides):
    for height, width in sides:
        session.run(numpy.zeros((1, height, width, 3), numpy.uint8))
    return psutil.Process().memory_info().rss
first = used((640, 640))
print(used(*((height, width) for height in range(32, 641, 32) for width in range(32, 641, 32))) - first)
"""
    path = models_dir / "onnx" / "yunet" / "yunet.prepared.onnx"
    done = subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True, timeout=100)
    assert int(done.stdout) <= 13 * 2**20


def test_a_network_of_rows_of_colours_is_read_by_its_own_layout(tmp_path: Path) -> None:
    file = model_file(Embedder.of(4).save(tmp_path / "a.onnx", layout="nhwc", side=8), Preprocess(layout="nhwc"))

    assert open_session(file).sizes == Sizes((8, 8))


@pytest.mark.parametrize(("made", "fed"), [("nchw", "nhwc"), ("nhwc", "nchw")])
def test_a_layout_that_the_file_does_not_have_is_rejected(tmp_path: Path, made: str, fed: str) -> None:
    path = Embedder.of(4).save(tmp_path / "a.onnx", layout=made)  # type: ignore[arg-type]
    with pytest.raises(GraphRejected, match=f"'data' has shape .*not {fed} of 3"):
        open_session(model_file(path, Preprocess(layout=fed)))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [["n", 1, 8, 8], ["n", "c", 8, 8], ["n", 3], [3, 8, 8]])
def test_an_input_that_is_no_batch_of_colour_pictures_is_rejected(tmp_path: Path, shape: list[Axis]) -> None:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    path = save(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", shape)], [output])
    with pytest.raises(GraphRejected, match=r"^a: input 'x' has shape"):
        open_session(model_file(path))


def test_a_network_of_several_inputs_is_rejected_with_their_names(tmp_path: Path) -> None:
    shape: list[Axis] = ["n", 3, 8, 8]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    add = helper.make_node("Add", ["left", "right"], ["y"])
    path = save(tmp_path / "a.onnx", [add], [("left", shape), ("right", shape)], [output])
    with pytest.raises(GraphRejected, match="one input expected, the file wants: left, right"):
        open_session(model_file(path))


@pytest.mark.parametrize("data", [b"", b"<html>", bytes(100)])
def test_a_file_that_is_no_network_is_rejected_in_one_line_without_its_folder(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    with pytest.raises(GraphRejected, match=r"^a: ONNX Runtime cannot load a\.onnx: ") as caught:
        open_session(model_file(path))
    assert "\n" not in str(caught.value)


def test_pictures_that_the_network_cannot_take_are_a_failed_inference(tmp_path: Path) -> None:
    session = open_session(model_file(dense(tmp_path / "a.onnx", yunet_heads(), batch=1, size=(64, 64))))
    with pytest.raises(InferenceFailed, match=r"^a failed on \(2, 64, 64, 3\): ") as caught:
        session.run(pictures(2, (64, 64)))
    assert "\n" not in str(caught.value)
    assert len(session.run(pictures(1, (64, 64)))) == 12  # and the session lives on


def test_outputs_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    heads = yunet_heads()[::-1]
    session = open_session(model_file(dense(tmp_path / "a.onnx", heads)))

    got = session.run(pictures(1, (64, 32)))
    assert [out.shape[2] for out in got] == [head.columns for head in heads]


@pytest.mark.parametrize("identity", [False, True])
def test_each_run_s_arrays_are_its_own_fault_16(tmp_path: Path, identity: bool) -> None:
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
    session = open_session(model_file(path))
    pixels = pictures(2, (8, 8))
    first = session.run(pixels)
    kept = [out.copy() for out in first]
    second = session.run(255 - pixels)

    for a, b, before in zip(first, second, kept, strict=True):
        assert not np.shares_memory(a, b) and not np.shares_memory(a, pixels)
        b[:] = -1
        np.testing.assert_array_equal(a, before)


def test_several_threads_at_once_get_the_answers_of_one_fault_16(tmp_path: Path) -> None:
    session = open_session(model_file(dense(tmp_path / "a.onnx", yunet_heads())))
    batches = [pictures(1 + i % 3, (64, 32 * (1 + i % 2)), seed=i) for i in range(48)]
    alone = [session.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session.run, batches))

    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


FEEDS = [
    Preprocess(mean, std, colours, layout)
    for mean, std, colours, layout in product(
        (0.0, 127.5, 104.0), (1.0, 127.5, 128.0, 57.1), ("rgb", "bgr"), ("nchw", "nhwc")
    )
]


@pytest.mark.parametrize("feed", FEEDS, ids=str)
def test_the_fast_filling_equals_the_plain_preprocessing(feed: Preprocess) -> None:
    every_value = np.arange(256, dtype=np.uint8)
    pixels = np.stack([every_value, every_value[::-1], np.roll(every_value, 77)], axis=-1).reshape(2, 8, 16, 3)
    planes = filled(feed, pixels)

    assert planes.dtype == np.float32 and planes.flags.c_contiguous
    np.testing.assert_allclose(planes, feed(pixels), rtol=1e-5, atol=1e-5)
    given = np.full(fed_shape(feed, pixels), np.nan, np.float32)
    assert filled(feed, pixels, given) is given and np.array_equal(given, planes)


def test_a_part_of_a_larger_picture_is_filled_alike() -> None:
    large = pictures(3, (40, 30))
    part = large[::2, 3:19, 5:37]  # neither contiguous nor alone in its memory

    np.testing.assert_allclose(filled(Preprocess(), part), Preprocess()(part), atol=1e-5)


def test_a_closed_session_holds_nothing_and_answers_nothing(tmp_path: Path) -> None:
    session = open_session(model_file(Embedder.of(4).save(tmp_path / "a.onnx", side=8)))
    native = weakref.ref(session._session)
    session.close()
    assert native() is None
    with pytest.raises(InferenceFailed, match=r"^a failed on"):
        session.run(pictures(1, (8, 8)))


def test_what_a_run_needed_is_given_back(tmp_path: Path) -> None:
    """In a process of its own: what others need there would be counted too."""
    script = """
import sys
from pathlib import Path
import numpy as np, psutil
from tests.networks import dense, model_file, scrfd_heads
from visage.backends.onnx import open_session
from visage.memory import give_back

session = open_session(model_file(dense(Path(sys.argv[1]), scrfd_heads())))
rss = lambda: psutil.Process().memory_info().rss / 2**20
session.run(np.zeros((1, 32, 32, 3), np.uint8))
give_back()
before = rss()
session.run(np.zeros((8, 1024, 1024, 3), np.uint8))
burst = rss()
give_back()
print(before, burst, rss())
assert session.run(np.zeros((1, 32, 32, 3), np.uint8))
"""
    env = {**os.environ, "PYTHONPATH": f"{REPO / 'src'}:{REPO}"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.onnx")], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    before, burst, after = map(float, done.stdout.split())
    assert burst - before > 40, "the burst did not need memory: the test shows nothing"
    assert after - before < 20
