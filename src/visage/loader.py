"""A network on its way into memory: its file, a session, a stage that is self-tested and warm."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from visage import selftest
from visage.backends.base import Means, ModelFile, OpenSession
from visage.deadline import Deadline
from visage.errors import ChecksumMismatch
from visage.faces import Image
from visage.families import family
from visage.networks import Loaded, stamp_of
from visage.options import ExtractOptions
from visage.pipeline import CropStage, DetectionStage, FacePipeline, Observed
from visage.scheduling import Load, elastic
from visage.selftest import Known
from visage.zoo.catalogue import Entry
from visage.zoo.store import Prepared, Store

T = TypeVar("T")

log = logging.getLogger(__name__)

FileOf = Callable[[Entry, Prepared], ModelFile]


@dataclass(frozen=True, slots=True)
class Computed:
    """What computes a network: in a word for an error, and whether it is what the others are held against, or in half
    precision.
    """

    by: str
    oracle: bool = False
    half: bool = False


# Everything compiled and every buffer grown on warm-up: these numbers of crops are what requests bring.
_WARM_CROPS = (1, 2, 4, 8)
_WARM_SECONDS = 600
_WARM = ExtractOptions(0.05, limit_faces=8, embedding=False, crops=True)


class Loader:
    """Opens networks with one backend; each context closes what it opened.

    `picture` is the self-test's; `file` tells how a network is fed and with what it is computed, `load` what else runs;
    `engines` names what computes each network, `oracle` is what they are held against. Raises SelfTestFailed,
    GraphRejected and ModelFileError.
    """

    def __init__(
        self,
        store: Store,
        open_session: OpenSession,
        picture: Image,
        *,
        file: FileOf,
        load: Load,
        engines: Mapping[str, Computed],
        oracle: OpenSession,
    ) -> None:
        self._store = store
        self._open_session = elastic(open_session, load)
        self._load = load
        self._picture = picture
        self._file = file
        self._engines = engines
        self._oracle = oracle
        self._answers: dict[str, list[float]] = {}  # the oracle's, by the weights' sha256

    @contextmanager
    def detection(
        self,
        model: Loaded,
        *,
        max_batch: int,
        max_size: tuple[int, int],
        largest: int,
        extra_sizes: Sequence[tuple[int, int]] = (),
        square: bool = False,
        observe_batch: Observed,
        observe_waiting: Observed = lambda _: None,
    ) -> Iterator[DetectionStage]:
        """A detector's stage."""
        with self._opened(model) as detector:
            self._tested(model, detector)
            if extra_sizes and detector.sizes.fixed:
                only = "×".join(map(str, detector.sizes.fixed))
                log.warning("DET_EXTRA_SIZES has no effect: %s takes pictures of %s only", model.entry.name, only)
            stage = DetectionStage(
                detector,
                max_batch=max_batch,
                max_size=max_size,
                largest=largest,
                extra_sizes=extra_sizes,
                load=self._load,
                square=square,
                observe_batch=observe_batch,
                observe_waiting=observe_waiting,
            )
            with closing(stage):
                _warm_detection(stage, self._picture, max_size)
                with self._among_others():
                    FacePipeline(stage).faces(self._picture, _WARM, Deadline(_WARM_SECONDS))
                yield stage

    @contextmanager
    def crops(
        self,
        model: Loaded,
        stage_name: str,
        *,
        max_batch: int,
        observe_batch: Observed,
        observe_waiting: Observed = lambda _: None,
    ) -> Iterator[CropStage[T]]:
        """The stage of a network of crops."""
        with self._opened(model) as crop_model:
            self._tested(model, crop_model)
            stage: CropStage[T] = CropStage(
                stage_name,
                crop_model,
                max_batch=max_batch,
                load=self._load,
                observe_batch=observe_batch,
                observe_waiting=observe_waiting,
            )
            with closing(stage):
                _warm_crops(stage, self._picture, max_batch)
                with self._among_others():
                    _warm_crops(stage, self._picture, 1)
                yield stage

    @contextmanager
    def _opened(self, model: Loaded) -> Iterator[Any]:
        self._unchanged(model)
        with network(model, self._open_session, self._file) as opened:
            yield opened

    def _tested(self, model: Loaded, opened: Any) -> None:
        """Raises SelfTestFailed where the network, as it is computed here, does not answer what it must."""
        name, computed = model.entry.name, self._engines[model.entry.name]
        known = self._known(model, computed)
        if known is not None and computed.half:
            known = known.halved()
        selftest.check(name, selftest.numbers(model.entry.task, opened, self._picture), known, computed.by)

    def _known(self, model: Loaded, computed: Computed) -> Known | None:
        """The catalogue's numbers for these weights; without them the oracle's, where another computes them."""
        known = model.entry.canonical
        if known is not None and known.sha256 in (None, model.file.sha256):
            return Known(known.numbers, known.tolerance)
        if computed.oracle:
            return None
        if model.file.sha256 not in self._answers:
            with network(model, self._oracle, self._plainly) as opened:
                self._answers[model.file.sha256] = selftest.numbers(model.entry.task, opened, self._picture)
        return Known(self._answers[model.file.sha256], selftest.TOLERANCES[model.entry.task], "ONNX Runtime on the CPU")

    def _plainly(self, entry: Entry, file: Prepared) -> ModelFile:
        """As `file`, but to be computed on this machine's CPU in single precision."""
        return replace(self._file(entry, file), means=Means())

    @contextmanager
    def _among_others(self) -> Iterator[None]:
        """As where several pictures are worked on: networks take their narrow form."""
        with self._load.picture(), self._load.picture():
            yield

    def _unchanged(self, model: Loaded) -> None:
        """A file that was replaced since the start must not answer under the name of the one that was there.

        One that is gone is made again where there is a source for it.
        """
        if model.stamp is not None and stamp_of(model.file.path) != model.stamp:
            found = self._store.prepare(model.entry).sha256
            if found != model.file.sha256:
                raise ChecksumMismatch(
                    f"{model.entry.name}: {model.file.path} is another file than at the start (sha256 {found}, was "
                    f"{model.file.sha256}); restart the service to use it"
                )


@contextmanager
def network(model: Loaded, open_session: OpenSession, file: FileOf) -> Iterator[Any]:
    """The network as its family's object; families and sessions meet here."""
    entry = model.entry
    with closing(open_session(file(entry, model.file))) as session:
        yield family(entry.family).build(session, entry.params)


def _warm_detection(stage: DetectionStage, picture: Image, max_size: tuple[int, int]) -> None:
    """Run from the picture to aligned crops, as requests will: nothing compiles or grows on a request."""
    # A picture to be enlarged and one to be shrunk, which fills all of `max_size`; a low threshold, for many proposals.
    times = 2 + max(max_size) // min(picture.width, picture.height)
    tiled = np.tile(picture.pixels, (times, times, 1))
    height, width = (side * most // max(max_size) for side, most in zip(tiled.shape, reversed(max_size), strict=False))
    large = Image(tiled[: height - 1, :width])
    for image in (picture, large):
        FacePipeline(stage).faces(image, _WARM, Deadline(_WARM_SECONDS))


def _warm_crops(stage: CropStage[T], picture: Image, max_batch: int) -> None:
    crops = stage.crop.cut(picture.pixels, selftest.FACE)
    for count in _WARM_CROPS:
        if count <= max_batch:
            stage.run(crops.repeat(count, axis=0), Deadline(_WARM_SECONDS))
