"""The shapes that an engine is built for."""

from collections.abc import Sequence
from dataclasses import dataclass

from visage.backends.base import ModelFile, Sizes
from visage.backends.tensorrt.library import Shape
from visage.errors import GraphRejected


@dataclass(frozen=True, slots=True)
class Profile:
    """Of the one input: the smallest shape, the one to be fastest at, and the largest; alike where an axis is fixed."""

    least: Shape
    usual: Shape
    most: Shape

    def __post_init__(self) -> None:
        for axis, (least, usual, most) in enumerate(zip(self.least, self.usual, self.most, strict=True)):
            if not 1 <= least <= usual <= most:
                raise GraphRejected(
                    f"an engine's shapes must grow from the least ({least}) over the usual ({usual}) to the most "
                    f"({most}): axis {axis}"
                )

    @classmethod
    def of(cls, shape: Sequence[int], model: ModelFile) -> "Profile":
        """For an input of `shape`, (N, 3, h, w) or (N, h, w, 3), -1 where dynamic: from one smallest picture to
        `model.largest`. Raises GraphRejected for any other shape.
        """
        planar = model.preprocess.layout == "nchw"
        if len(shape) != 4 or shape[1 if planar else 3] != 3:
            raise GraphRejected(f"{model.name}: the input has shape {list(shape)}, not {model.preprocess.layout} of 3")
        multiples, largest = Sizes(stride=model.stride), model.largest
        most = multiples.nearest(largest.size)
        usual = multiples.nearest(largest.usual)
        usual = min(usual[0], most[0]), min(usual[1], most[1])
        wanted = [
            _axes(count, size, planar=planar)
            for count, size in ((1, (model.stride, model.stride)), (largest.batch, usual), (largest.batch, most))
        ]
        return cls(*(tuple(w if s == -1 else s for w, s in zip(axes, shape, strict=True)) for axes in wanted))

    def sizes(self, model: ModelFile) -> Sizes:
        """The pictures that the engine takes."""
        first = 2 if model.preprocess.layout == "nchw" else 1
        least, most = (shape[first : first + 2] for shape in (self.least, self.most))
        if least == most:
            return Sizes((most[1], most[0]), model.stride)
        return Sizes(None, model.stride, (most[1], most[0]))

    @property
    def batch(self) -> int:
        """The most pictures in a run."""
        return self.most[0]

    @property
    def fixed_batch(self) -> bool:
        """Whether it takes no fewer."""
        return self.least[0] == self.most[0]

    def __str__(self) -> str:
        return " to ".join("×".join(map(str, shape)) for shape in dict.fromkeys((self.least, self.most)))


def _axes(count: int, size: tuple[int, int], *, planar: bool) -> Shape:
    width, height = size
    return (count, 3, height, width) if planar else (count, height, width, 3)
