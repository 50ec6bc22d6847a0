"""What every backend must compute: each family's tiny network, fed each way, equals numpy."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.attributes import MATRIX, softmaxed
from tests.detector_networks import ROW_SCALE, Map, centerface_maps, decoded, mapped, retinaface_maps
from tests.networks import Embedder, Head, dense, model_file, pictures, scrfd_heads, yunet_heads
from tests.runnable import EVERY
from visage.backends import backend
from visage.backends.base import Largest, Preprocess, Session, Sizes
from visage.faces import Detections, ImageBatch
from visage.families import FAMILIES, family

FEEDS = [
    Preprocess(mean, std, colours)
    for (mean, std), colours in product([(0.0, 1.0), (127.5, 127.5), (127.5, 128.0)], ["rgb", "bgr"])
]
DETECTORS = {"scrfd": scrfd_heads(), "yunet": yunet_heads()}
MAPS = {"retinaface": retinaface_maps(masks=True), "centerface": centerface_maps()}
# Those of one output each: decoded rows, embeddings, probabilities; and what is made as an embedding is.
OTHERS = {"yolov5_face", "arcface", "mask"}
# Family, side of its crops, columns of its output.
CROPS = [("genderage", 112, 202), ("genderage", 96, 3), ("landmarks106", 192, 212)]

# The most pictures a run, of backends that build for shapes.
MOST = 4


def opened(name: str, path: Path, feed: Preprocess) -> Session:
    return backend(name)(replace(model_file(path, feed), largest=Largest(MOST, (96, 64), (128, 128))))


def test_every_family_is_tested_here() -> None:
    assert set(FAMILIES) == {*DETECTORS, *MAPS, *OTHERS, *(name for name, _, _ in CROPS)}


@pytest.mark.parametrize("feed", FEEDS, ids=str)
@pytest.mark.parametrize("heads", DETECTORS.values(), ids=DETECTORS)
@pytest.mark.parametrize("name", EVERY)
def test_a_detector_s_outputs_are_numpy_s_fault_03(
    tmp_path: Path, name: str, heads: list[Head], feed: Preprocess
) -> None:
    session = opened(name, dense(tmp_path / "a.onnx", heads), feed)
    pixels = pictures(3, (96, 64))
    outputs = session.run(pixels)

    assert (session.sizes.fixed, session.sizes.stride) == (None, 32)
    assert session.sizes.nearest((96, 64)) == (96, 64) and session.max_batch in (0, MOST)
    for out, head in zip(outputs, heads, strict=True):
        np.testing.assert_allclose(out, head(feed(pixels)), rtol=1e-4, atol=1e-4)
    session.close()


@pytest.mark.parametrize("feed", FEEDS, ids=str)
@pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("name", EVERY)
def test_a_detector_s_maps_are_numpy_s_fault_03(tmp_path: Path, name: str, maps: list[Map], feed: Preprocess) -> None:
    session = opened(name, mapped(tmp_path / "a.onnx", maps), feed)
    pixels = pictures(3, (96, 64))
    for out, expected in zip(session.run(pixels), maps, strict=True):
        np.testing.assert_allclose(out, expected(feed(pixels)), rtol=1e-4, atol=1e-4)
    session.close()


@pytest.mark.parametrize("feed", FEEDS, ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_a_detector_s_decoded_rows_are_numpy_s_fault_03(tmp_path: Path, name: str, feed: Preprocess) -> None:
    cells = Map.of("rows", 8, 16, sigmoid=True)
    session = opened(name, decoded(tmp_path / "a.onnx", cells), feed)
    pixels = pictures(3, (96, 64))
    (got,) = session.run(pixels)
    expected = cells(feed(pixels)).reshape(3, 16, -1).transpose(0, 2, 1) * ROW_SCALE
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
    session.close()


@pytest.mark.parametrize("name", EVERY)
def test_a_mask_network_s_probabilities_are_numpy_s_fault_03(tmp_path: Path, name: str) -> None:
    feed = FAMILIES["mask"].preprocess
    session = opened(name, softmaxed(tmp_path / "a.onnx", 112), feed)
    crops = pictures(3, (112, 112))
    (got,) = session.run(crops)
    powers = np.exp(feed(crops).mean(axis=(1, 2)) @ MATRIX)
    np.testing.assert_allclose(got, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    session.close()


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("feed", FEEDS, ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_an_embedder_s_output_is_numpy_s_fault_03(tmp_path: Path, name: str, feed: Preprocess, layout: str) -> None:
    feed = Preprocess(feed.mean, feed.std, feed.colours, layout)  # type: ignore[arg-type]
    tiny = Embedder.of(8)
    session = opened(name, tiny.save(tmp_path / "a.onnx", layout=feed.layout), feed)
    crops = pictures(3, (112, 112))

    (got,) = session.run(crops)
    np.testing.assert_allclose(got, tiny(feed(crops), feed.layout), rtol=1e-4, atol=1e-3)
    session.close()


@pytest.mark.parametrize(("kind", "side", "columns"), CROPS)
@pytest.mark.parametrize("name", EVERY)
def test_a_network_of_crops_says_their_size_and_its_output_is_numpy_s_fault_03(
    tmp_path: Path, name: str, kind: str, side: int, columns: int
) -> None:
    feed = FAMILIES[kind].preprocess
    tiny = Embedder.of(columns)
    session = opened(name, tiny.save(tmp_path / "a.onnx", side=side), feed)
    crops = pictures(3, (side, side))

    assert session.sizes == Sizes((side, side)) and FAMILIES[kind].build(session, {}).crop.size == side
    (got,) = session.run(crops)
    np.testing.assert_allclose(got, tiny(feed(crops)), rtol=1e-4, atol=1e-3)
    session.close()


def test_a_mix_up_of_colours_would_show() -> None:
    crops, tiny = pictures(3, (112, 112)), Embedder.of(8)
    for mean, std in ((0.0, 1.0), (127.5, 127.5)):
        right, wrong = (tiny(Preprocess(mean, std, colours)(crops)) for colours in ("rgb", "bgr"))
        assert np.abs(right - wrong).max() > 0.1


@pytest.mark.parametrize("batch", ["n", 1, 2])
@pytest.mark.parametrize("name", EVERY)
def test_a_batch_equals_its_pictures_alone_whatever_the_file_takes_fault_10(
    tmp_path: Path, name: str, batch: int | str
) -> None:
    taken = 4 if batch == 2 else 3  # a fixed batch of two takes twos
    pixels = pictures(taken, (96, 64))
    for task, heads in DETECTORS.items():
        path = dense(tmp_path / f"{task}.onnx", heads, batch=batch, size=(64, 96))
        alone = family(task).build(
            opened(name, dense(tmp_path / f"{task}-1.onnx", heads), FAMILIES[task].preprocess), {}
        )
        together = family(task).build(opened(name, path, FAMILIES[task].preprocess), {})
        thresholds = np.full(taken, 0.5, np.float32)
        scales = np.linspace(0.5, 2, taken)
        found = together.detect(ImageBatch(pixels, scales), thresholds)
        singly = [
            alone.detect(ImageBatch(pixels[i : i + 1], scales[i : i + 1]), thresholds[:1])[0] for i in range(taken)
        ]
        assert any(len(image) for image in found)
        for a, b in zip(found, singly, strict=True):
            _same(a, b)


def _same(a: Detections, b: Detections) -> None:
    np.testing.assert_allclose(a.boxes, b.boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    np.testing.assert_allclose(a.landmarks, b.landmarks, rtol=1e-4, atol=1e-3)
