import os
import subprocess
import sys
import weakref
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.networks import Axis, Embedder, model_file, pictures, save
from tests.support import REPO
from visage.backends.base import Preprocess
from visage.backends.onnx import open_session
from visage.backends.planes import fed_shape, filled
from visage.errors import GraphRejected, InferenceFailed


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
    done = subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True, timeout=200)
    assert int(done.stdout) <= 13 * 2**20


@pytest.mark.parametrize("shape", [["n", 1, 8, 8], ["n", "c", 8, 8], ["n", 3], [3, 8, 8]])
def test_an_input_that_is_no_batch_of_colour_pictures_is_rejected(tmp_path: Path, shape: list[Axis]) -> None:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    path = save(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", shape)], [output])
    with pytest.raises(GraphRejected, match=r"^a: input 'x' has shape"):
        open_session(model_file(path))


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
