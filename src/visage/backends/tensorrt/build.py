"""ONNX → engine."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from visage.backends.tensorrt.library import Builder, BuilderConfig, Library, Network, Words, logger
from visage.backends.tensorrt.profile import Profile
from visage.backends.tensorrt.source import Source
from visage.errors import GraphRejected

log = logging.getLogger(__name__)

_SAY_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an engine is built. `workspace` in MB, 0 for TensorRT's own limit; `target` names the GPU to build for
    ("SM86") where TensorRT can build for another than the one at hand, as TensorRT for RTX can.
    """

    profile: Profile
    half: bool = False
    workspace: int = 0
    target: str | None = None


def build(library: Library, source: Source, recipe: Recipe, timings: bytes = b"") -> tuple[bytes, bytes]:
    """The engine, and what TensorRT measured on the way, which makes the next build of a like network shorter.

    `timings`: what an earlier build measured. Raises GraphRejected with TensorRT's own words.
    """
    name, started, words = source.model.name, time.monotonic(), Words()
    told = logger(library, words)
    builder = library.Builder(told)
    network = _parsed(library, builder, source, recipe, told)
    config = _configured(library, builder, recipe)
    config.progress_monitor = monitor = _monitor(library, name, time.monotonic)
    words.fresh()
    _add_profile(builder, config, network, recipe.profile, name, words)
    measured = _give_timings(library, config, timings)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise GraphRejected(f"{name}: TensorRT cannot build it for {recipe.profile}: {words.complaint}")
    del monitor
    data = bytes(engine)
    log.info(
        "%s: TensorRT engine built: %s, %s, %.1f MB, %.1f s",
        name,
        "half precision" if recipe.half else "single precision",
        recipe.profile,
        len(data) / 1e6,
        time.monotonic() - started,
    )
    return data, measured()


def _parsed(library: Library, builder: Builder, source: Source, recipe: Recipe, told: Any) -> Network:
    # Always so in TensorRT 11, which may drop the flag.
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = library.OnnxParser(network, told)
    name, file = source.model.name, source.model.path.name
    if not parser.parse(source.parsed(half=recipe.half)):
        said = "; ".join(parser.get_error(i).desc() for i in range(min(3, parser.num_errors)))
        raise GraphRejected(f"{name}: TensorRT cannot read {file}: {' '.join(said.split())[:300]}")
    if network.num_inputs != 1:
        raise GraphRejected(f"{name}: one input expected, TensorRT finds {network.num_inputs} in {file}")
    return network


def _configured(library: Library, builder: Builder, recipe: Recipe) -> BuilderConfig:
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)  # ten bits of mantissa are not single precision
    if recipe.workspace:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, recipe.workspace << 20)
    if recipe.target is not None:
        named: Any = config  # TensorRT for RTX alone builds for another GPU
        named.num_compute_capabilities = 1
        named.set_compute_capability(getattr(getattr(library, "ComputeCapability"), recipe.target), 0)  # noqa: B009  as above
    return config


def _add_profile(
    builder: Builder, config: BuilderConfig, network: Network, profile: Profile, name: str, words: Words
) -> None:
    shapes = builder.create_optimization_profile()
    shapes.set_shape(network.get_input(0).name, profile.least, profile.usual, profile.most)
    if config.add_optimization_profile(shapes) < 0:
        raise GraphRejected(f"{name}: TensorRT refuses the shapes {profile}: {words.complaint}")


def _give_timings(library: Library, config: BuilderConfig, timings: bytes) -> Callable[[], bytes]:
    """Build with what is known; what is returned tells afterwards what is known then."""
    if "rtx" in library.__name__:  # measures on the user's machine, when it runs
        return lambda: b""
    if not config.set_timing_cache(config.create_timing_cache(timings), False):
        log.info("what an earlier build measured is of another TensorRT or GPU; measuring anew")
        config.set_timing_cache(config.create_timing_cache(b""), False)

    def measured() -> bytes:
        cache = config.get_timing_cache()
        return b"" if cache is None else bytes(cache.serialize())

    return measured


def _monitor(library: Library, name: str, clock: Callable[[], float]) -> Any:
    """An IProgressMonitor that says in the log how far it is, now and then; None where TensorRT has none."""
    if not hasattr(library, "IProgressMonitor"):
        return None

    base: Any = library.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # whichever package was given
        def __init__(self) -> None:
            base.__init__(self)
            self._steps: dict[str, int] = {}
            self._started = self._said = clock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            now = clock()
            if now - self._said >= _SAY_EVERY:
                self._said = now
                of, seconds = self._steps.get(phase_name, 0), now - self._started
                log.info("%s: building its engine: %s, step %d of %d, %.0f s", name, phase_name, step + 1, of, seconds)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
