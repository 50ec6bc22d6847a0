from pathlib import Path

import pytest

from visage.backends.base import Largest, ModelFile, Preprocess, Sizes
from visage.backends.tensorrt.profile import Profile
from visage.errors import GraphRejected


def file(layout: str = "nchw", stride: int = 32, largest: Largest | None = None) -> ModelFile:
    largest = largest or Largest(4, (640, 480), (650, 700))
    feed = Preprocess(layout=layout)  # type: ignore[arg-type]
    return ModelFile("a", Path("a.onnx"), "0" * 64, feed, stride=stride, largest=largest)


def test_dynamic_axes_go_from_one_smallest_picture_to_the_largest_run() -> None:
    made = Profile.of((-1, 3, -1, -1), file())

    assert (made.least, made.usual, made.most) == ((1, 3, 32, 32), (4, 3, 480, 640), (4, 3, 672, 640))
    assert made.sizes(file()) == Sizes(None, 32, (640, 672)) and (made.batch, made.fixed_batch) == (4, False)
    assert made.sizes(file()).nearest((2000, 660)) == (640, 640) and str(made) == "1×3×32×32 to 4×3×672×640"


def test_colours_last_and_a_larger_stride_are_heeded() -> None:
    made = Profile.of((-1, -1, -1, 3), file("nhwc", stride=64))

    assert (made.least, made.usual, made.most) == ((1, 64, 64, 3), (4, 448, 640, 3), (4, 640, 640, 3))
    assert made.sizes(file("nhwc", stride=64)) == Sizes(None, 64, (640, 640))


@pytest.mark.parametrize("batch", [-1, 2])
def test_fixed_axes_are_left_alone(batch: int) -> None:
    made = Profile.of((batch, 3, 112, 112), file())
    least, most = (1, 4) if batch == -1 else (2, 2)

    assert (made.least, made.most) == ((least, 3, 112, 112), (most, 3, 112, 112)) and made.usual == made.most
    assert made.sizes(file()) == Sizes((112, 112)) and made.fixed_batch is (batch == 2)


def test_what_is_usual_is_never_beyond_the_largest() -> None:
    assert Profile.of((-1, 3, -1, -1), file(largest=Largest(1, (640, 480), (320, 320)))).usual == (1, 3, 320, 320)


@pytest.mark.parametrize("shape", [(-1, 1, -1, -1), (-1, 3), (-1, 112, 112, 3)])
def test_an_input_that_is_no_batch_of_colour_pictures_is_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(GraphRejected, match=r"^a: the input has shape .*not nchw of 3"):
        Profile.of(shape, file())


def test_shapes_that_shrink_are_rejected() -> None:
    with pytest.raises(GraphRejected, match=r"least \(4\) over the usual \(1\) to the most \(1\): axis 0"):
        Profile((4, 3, 32, 32), (1, 3, 32, 32), (1, 3, 32, 32))
