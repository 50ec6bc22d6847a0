"""A network on a GPU. Not run on one: what is tested is told in docs/backends.md."""

import logging
import threading
from functools import partial
from typing import Any

import numpy as np

from visage.backends.base import ModelFile, Sizes
from visage.backends.tensorrt.build import Recipe, build
from visage.backends.tensorrt.cache import EngineCache, Key, Unusable
from visage.backends.tensorrt.failure import failure, is_final, lost, said
from visage.backends.tensorrt.fill import NAME, SOURCE, launch
from visage.backends.tensorrt.lane import Lane, Tensors
from visage.backends.tensorrt.library import Engine, Library, Words, logger, named
from visage.backends.tensorrt.profile import Profile
from visage.backends.tensorrt.source import Source
from visage.errors import BackendUnavailable, GraphRejected, InferenceFailed, VisageError
from visage.faces import Floats, Pixels

log = logging.getLogger(__name__)

# While one computes, the other's pictures and answers are on their way.
STREAMS = 2


class TrtSession:
    """One engine and its lanes; as many callers as there are lanes run side by side, others wait for theirs."""

    streams = STREAMS

    def __init__(self, name: str, engine: Engine, lanes: list[Lane], profile: Profile, sizes: Sizes, cuda: Any) -> None:
        self._name = name
        self._engine: Engine | None = engine
        self._cuda = cuda
        self._idle = lanes
        self._all = len(lanes)
        self._closed = False
        self._changed = threading.Condition()
        self._fixed_batch = profile.fixed_batch and profile.batch
        self.sizes = sizes
        self.max_batch = profile.batch

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        """As `Session.run`. Raises Overloaded where the GPU's memory is full, DeviceLost where it answers this process
        no more, else InferenceFailed.
        """
        given = len(pixels)
        if self._fixed_batch > given:  # a file of fixed batch takes no fewer
            pixels = np.concatenate([pixels, np.zeros((self._fixed_batch - given, *pixels.shape[1:]), np.uint8)])
        lane = self._lane()
        try:
            if len(pixels) > self.max_batch:
                raise InferenceFailed(f"at most {self.max_batch} pictures in a run")
            answers = lane.run(np.ascontiguousarray(pixels))
        except Exception as exc:  # CuPy's errors share no base but this
            raise failure(f"{self._name} failed on {pixels.shape}", exc, self._cuda, after=_settle(lane)) from exc
        finally:
            with self._changed:
                self._idle.append(lane)
                self._changed.notify_all()
        return tuple(out[:given] for out in answers) if self._fixed_batch > given else answers

    def close(self) -> None:
        """Let contexts, memory and engine go when what runs is done; a later `run` fails."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._all)
            self._idle.clear()
            self._all = 0
        self._engine = None  # after its contexts
        self._cuda.get_default_memory_pool().free_all_blocks()
        self._cuda.get_default_pinned_memory_pool().free_all_blocks()

    def _lane(self) -> Lane:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._idle))
            if self._closed:
                raise InferenceFailed(f"{self._name} failed: its session is closed")
            return self._idle.pop()


def opened(library: Library, cuda: Any, model: ModelFile) -> TrtSession:
    """The session of `model`; its engine is built now where there is none. `library` is tensorrt, `cuda` is cupy.

    Raises GraphRejected for a file that cannot be built, BackendUnavailable where the GPU cannot hold it, DeviceLost.
    """
    source = Source.read(model)
    profile = Profile.of(source.shape, model)
    cache = EngineCache(model.kept or model.path.parent, model.name, _key(library, cuda, source, profile))
    recipe = Recipe(profile, model.means.fp16, model.means.workspace_mb)
    words = Words()
    engine = cache.obtain(
        lambda timings: build(library, source, recipe, timings),
        lambda data: loaded(library, data, source, profile, words),
    )
    tensors = Tensors(source.input, source.outputs, planar=model.preprocess.layout == "nchw")
    try:
        kernel = cuda.RawKernel(SOURCE, NAME)
        fill = partial(launch, kernel, preprocess=model.preprocess)
        lanes = [
            Lane(engine, cuda, tensors, profile, fill, words, graphs=model.means.cuda_graphs) for _ in range(STREAMS)
        ]
    except VisageError:
        raise
    except Exception as exc:  # as above
        if is_final(exc):
            raise lost(f"{model.name} cannot be loaded", exc) from exc
        remedy = "fewer NUM_WORKERS, a smaller MAX_SIZE or smaller batches need less of it"
        raise BackendUnavailable(f"{model.name} cannot be held by this GPU: {said(exc)}; {remedy}") from exc
    return TrtSession(model.name, engine, lanes, profile, profile.sizes(model), cuda)


def loaded(library: Library, data: bytes, source: Source, profile: Profile, words: Words) -> Engine:
    """The engine of these bytes, which complains in `words`. Raises Unusable, saying why or what it is not."""
    runtime = library.Runtime(logger(library, words))
    words.fresh()
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise Unusable(words.complaint)
    names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
    wanted = {source.input, *source.outputs}
    if names != wanted:
        raise Unusable(f"its tensors are {', '.join(sorted(names))}, the file's {', '.join(sorted(wanted))}")
    built = [tuple(shape) for shape in engine.get_tensor_profile_shape(source.input, 0)]
    if built != [profile.least, profile.usual, profile.most]:
        raise Unusable(f"it was built for {built}, not for {profile}")
    single = library.DataType.FLOAT
    others = sorted(name for name in names if engine.get_tensor_dtype(name) != single)
    if others:
        raise GraphRejected(f"{source.model.name}: {', '.join(others)} are not float32")
    return engine


def _key(library: Library, cuda: Any, source: Source, profile: Profile) -> Key:
    model = source.model
    try:
        device = cuda.cuda.Device()
        capability = f"sm{device.compute_capability}"
        device.synchronize()  # one that is lost says so here: its engine is not to be thought broken and built anew
    except Exception as exc:  # as above
        if is_final(exc):
            raise lost(f"{model.name} cannot be loaded", exc) from exc
        raise BackendUnavailable(f"INFERENCE_BACKEND=trt finds no GPU: {said(exc)}") from exc
    precision: Any = "fp16" if model.means.fp16 else "fp32"
    return Key(named(library), capability, model.sha256, source.digest, precision, profile)


def _settle(lane: Lane) -> Exception | None:
    """Wait for what is under way; what the stream says to that, if it fails."""
    try:
        lane.settle()
    except Exception as exc:  # as above; the next run will tell
        log.warning("a stream of the GPU does not come to rest: %s", said(exc))
        return exc
    return None
