"""The composition root: Settings → a running FaceService."""

import gc
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2

from visage import selftest
from visage.backends import AUTO, ORACLE, REMOTE, backend
from visage.backends.base import Asking, Largest, Means, ModelFile, Sizes
from visage.choice import choose
from visage.cores import available
from visage.engines.choosing import Choosing
from visage.engines.race import Work
from visage.engines.standing import Standings, opening
from visage.faces import Image
from visage.geometry.alignment import CROP_SIZE
from visage.images.addresses import AddressPolicy
from visage.images.decoding import Decoder, Limits
from visage.images.fetching import Downloader, Folder
from visage.loader import Computed, Loader, network
from visage.memory import give_back
from visage.networks import Loaded, Networks
from visage.pipeline import CropStage, DetectionStage
from visage.rack import Rack, Shelf, Stage
from visage.scheduling import Load
from visage.service import FaceService, Watcher
from visage.settings import Settings
from visage.slot import Slot
from visage.zoo import licences
from visage.zoo.catalogue import Catalogue, Entry
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching, data_file
from visage.zoo.store import Prepared, Store

S = TypeVar("S", bound=Stage)

log = logging.getLogger(__name__)


class RuntimeWatcher(Watcher, Protocol):
    """What a running service reports besides its images."""

    def batch(self, stage: str, size: int, /) -> None: ...

    def waiting(self, stage: str, model: str, /) -> Callable[[int], None]:
        """Who is told how many items wait for a network, from whatever thread, whenever that has changed."""
        ...


class Unwatched:
    """The watcher where nobody watches."""

    def image(self, outcome: object, /) -> None: ...

    def stage(self, name: str, seconds: float, /) -> None: ...

    def batch(self, stage: str, size: int, /) -> None: ...

    def waiting(self, stage: str, model: str, /) -> Callable[[int], None]:
        return lambda _: None


@dataclass(frozen=True, slots=True)
class Runtime:
    """A service that is ready, and what it runs with."""

    service: FaceService
    networks: Networks
    catalogue: Catalogue
    seconds: float
    engines: Standings = field(default_factory=dict)

    async def aclose(self) -> None:
        await self.service.aclose()


def prepare(settings: Settings) -> Networks:
    """Make every network's file ready, once; what a start without work left to do spends milliseconds on."""
    return _prepare(settings, read_catalogue(settings.models_dir))


def _prepare(settings: Settings, catalogue: Catalogue) -> Networks:
    backend(_surely(settings))
    AddressPolicy.parse(settings.url_allow)
    store = open_store(settings, catalogue)
    chosen = choose(settings, catalogue)
    defaults = {role: Loaded.prepared(entry, store) for role, entry in chosen.entries().items()}
    return Networks.of(defaults, [Loaded.prepared(entry, store) for entry in chosen.further()])


def open_store(settings: Settings, catalogue: Catalogue) -> Store:
    """The models folder as the settings allow it to be used. Raises ConfigurationError for a misspelt licence."""
    licences.check_flags(settings.accept_licences, (entry.licence.id for entry in catalogue.entries.values()))
    return _store(settings)


def _store(settings: Settings) -> Store:
    return Store(Fetching(settings.models_dir, offline=settings.offline), settings.accept_licences)


def try_model(entry: Entry, path: Path, settings: Settings) -> list[float]:
    """What the network in the file `path` answers on the self-test picture. Raises GraphRejected, InferenceFailed."""
    picture = _picture()
    session = backend(ORACLE if settings.inference_backend in REMOTE else _surely(settings))

    def file(entry: Entry, tried: Prepared) -> ModelFile:
        return replace(model_file(settings, entry, tried), kept=None)  # what is built of it goes when it goes

    with network(Loaded(entry, Prepared(path, "0" * 64, False)), session, file) as model:
        return selftest.numbers(entry.task, model, picture)


def choose_engines(settings: Settings, networks: Networks, *, again: bool = False) -> Standings:
    """What computes each network; it is measured where INFERENCE_BACKEND is auto and nothing is remembered, or `again`.

    Raises BackendUnavailable, GraphRejected and InferenceFailed.
    """
    choosing = Choosing(settings.inference_backend, _store(settings), _picture().pixels, again)
    found = {}
    for _, model in networks.all():
        entry = model.entry
        found[entry.name] = choosing.engine(entry, model_file(settings, entry, model.file), _work(settings, entry))
    return found


def model_file(settings: Settings, entry: Entry, file: Prepared) -> ModelFile:
    """A prepared network as backends are given it."""
    asking = Asking(settings.triton_timeout, settings.triton_streams, settings.triton_shared_memory == "auto")
    means = Means(
        settings.force_fp16,
        tuple(settings.ort_providers),
        tuple(settings.triton_uri),
        asking,
        settings.trt_workspace_mb,
        settings.trt_cuda_graphs,
    )
    work = _work(settings, entry)
    sizes = [settings.max_size, *settings.det_extra_sizes, selftest.INPUT]
    widest = sizes if entry.task == "detection" else [work.size]
    size = (max(width for width, _ in widest), max(height for _, height in widest))
    largest = Largest(max(work.batches), work.size, size)
    kept = settings.models_dir / "onnx" / entry.name
    return ModelFile(
        entry.name, file.path, file.sha256, entry.fed(), cores(settings), entry.stride, means, largest, kept
    )


def _work(settings: Settings, entry: Entry) -> Work:
    """What requests will ask of this network; of a detector, pictures as most cameras take them: 4:3."""
    if entry.task == "detection":
        width, height = settings.max_size
        shown = (width, height if settings.squares else -(-3 * height // 4))
        return Work(Sizes(stride=entry.stride).nearest(shown), (1, settings.det_batch_size))
    return Work((CROP_SIZE, CROP_SIZE), (1, settings.rec_batch_size))


def _surely(settings: Settings) -> str:
    """The backend that is named, or the one that is always there."""
    return ORACLE if settings.inference_backend == AUTO else settings.inference_backend


def _picture() -> Image:
    return Decoder(Limits()).decode(data_file("selftest.png").read_bytes())


def open_runtime(settings: Settings, watcher: RuntimeWatcher, engines: Standings | None = None) -> Runtime:
    """Load, self-test and warm up the whole path; what is returned is ready.

    `engines`: chosen already. Raises ConfigurationError, ModelFileError and InferenceFailed.
    """
    started = time.monotonic()
    catalogue = read_catalogue(settings.models_dir)
    networks = _prepare(settings, catalogue)
    engines = choose_engines(settings, networks) if engines is None else engines
    decoder = Decoder(Limits(settings.max_image_bytes, settings.max_image_pixels))
    load = Load(share_of_cores(settings))
    cv2.setNumThreads(load.cores)  # its own count knows nothing of other workers, nor of every quota
    rack = _rack(settings, networks, engines, load, watcher)
    service = FaceService(
        rack,
        decoder,
        Folder(settings.root_images_dir, settings.max_image_bytes),
        Downloader(
            AddressPolicy.parse(settings.url_allow),
            limit=settings.max_image_bytes,
            seconds=settings.url_timeout,
            headers=settings.def_img_req_headers,
        ),
        watcher,
        load,
        workers=settings.image_workers or 1 + load.cores + _waiting(settings),
        max_requests=settings.max_requests,
    )
    gc.collect()
    give_back()
    gc.freeze()  # what is loaded stays; the collector need not walk it on every request
    seconds = time.monotonic() - started
    names = " ".join(
        f"{role}={model.described()} ({engines[model.entry.name].engine})" for role, model in networks.all()
    )
    if (mine := available()).limited:
        log.info("%s: %d thread%s", mine, cores(settings), "s" * (cores(settings) != 1))
    log.info("loaded %s, %d threads a run, %.1f s", names, cores(settings), seconds)
    return Runtime(service, networks, catalogue, seconds, engines)


def cores(settings: Settings) -> int:
    """Threads for one run of a network where nothing else runs: what is set, or all that belong to this process."""
    return settings.inference_threads or share_of_cores(settings)


def _waiting(settings: Settings) -> int:
    """Threads that wait for servers, and take no core meanwhile."""
    return settings.triton_streams if settings.inference_backend in REMOTE else 0


def share_of_cores(settings: Settings) -> int:
    """How many of the cores there are to compute on belong to this process."""
    return max(1, available().count // settings.num_workers)


def _rack(settings: Settings, networks: Networks, engines: Standings, load: Load, watcher: RuntimeWatcher) -> Rack:
    """Every network in its slot, open; when one cannot be opened those before it are closed, and `load` with them."""
    loader = Loader(
        _store(settings),
        opening(engines),
        _picture(),
        file=partial(model_file, settings),
        load=load,
        engines=_computed(settings, engines),
        oracle=backend(ORACLE),
    )
    with ExitStack() as opened:
        opened.callback(load.close)

        def shelf(role: str, opener: Callable[[Loaded], AbstractContextManager[S]]) -> Shelf[S]:
            slots = {}
            for name, model in networks.named.get(role, {}).items():
                slots[name] = Slot(name, partial(opener, model), idle=settings.models_idle_seconds)
                opened.callback(slots[name].close)
            default = networks.defaults.get(role)
            return Shelf(slots, default.entry.name if default else None)

        def detection(model: Loaded) -> AbstractContextManager[DetectionStage]:
            return loader.detection(
                model,
                max_batch=settings.det_batch_size,
                max_size=settings.max_size,
                largest=settings.max_detection_size,
                extra_sizes=settings.det_extra_sizes,
                square=settings.squares,
                observe_batch=_batches(watcher, "detection"),
                observe_waiting=watcher.waiting("detection", model.entry.name),
            )

        def crops(stage: str) -> Callable[[Loaded], AbstractContextManager[CropStage[Any]]]:
            return lambda model: loader.crops(
                model,
                stage,
                max_batch=settings.rec_batch_size,
                observe_batch=_batches(watcher, stage),
                observe_waiting=watcher.waiting(stage, model.entry.name),
            )

        rack = Rack(
            shelf("det", detection),
            shelf("rec", crops("embedding")),
            shelf("ga", crops("gender_age")),
            shelf("mask", crops("masks")),
            shelf("lmk", crops("landmarks")),
            max_faces=settings.max_faces,
            observe=watcher.stage,
        )
        opened.pop_all()
    return rack


def _computed(settings: Settings, engines: Standings) -> dict[str, Computed]:
    """What computes each network."""
    here = settings.ort_providers == ["cpu"]
    return {name: _by(found.engine, settings, here=here) for name, found in engines.items()}


def _by(engine: str, settings: Settings, *, here: bool) -> Computed:
    """`here`: ONNX Runtime computes on this machine's cores, as OpenVINO does, in single precision always."""
    on = f" on {', '.join(settings.ort_providers)}" if engine == ORACLE else ""
    half = settings.force_fp16 and not (here if engine == ORACLE else engine == "openvino")
    told = f"{engine}{on}{' in half precision' if half else ''}"
    return Computed(told, oracle=engine == ORACLE and here, half=half)


def _batches(watcher: RuntimeWatcher, stage: str) -> Callable[[int], None]:
    return lambda size: watcher.batch(stage, size)
