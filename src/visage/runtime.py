"""The composition root: Settings → a running FaceService."""

import gc
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from visage import selftest
from visage.backends import backend
from visage.backends.base import ModelFile, Session
from visage.deadline import Deadline
from visage.faces import Image
from visage.families import family
from visage.families.base import SETTINGS, CropModel, Task
from visage.images.addresses import AddressPolicy
from visage.images.decoding import Decoder, Limits
from visage.images.fetching import Downloader, Folder
from visage.memory import give_back
from visage.options import ExtractOptions
from visage.pipeline import CropStage, DetectionStage, FacePipeline
from visage.service import FaceService, Watcher
from visage.settings import Settings
from visage.zoo import licences
from visage.zoo.catalogue import Catalogue, Entry
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching, data_file
from visage.zoo.store import Prepared, Store

T = TypeVar("T")

log = logging.getLogger(__name__)

# Everything compiled and every buffer grown on warm-up: these numbers of crops are what requests bring.
_WARM_CROPS = (1, 2, 4, 8)


class RuntimeWatcher(Watcher, Protocol):
    """What a running service reports besides its images."""

    def batch(self, stage: str, size: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """The catalogue entries that the settings name; None where none is loaded."""

    detection: Entry
    recognition: Entry | None
    gender_age: Entry | None
    masks: Entry | None
    landmarks: Entry | None

    def entries(self) -> dict[str, Entry]:
        """By the short role that X-Visage-Models tells."""
        named = {
            "det": self.detection,
            "rec": self.recognition,
            "ga": self.gender_age,
            "mask": self.masks,
            "lmk": self.landmarks,
        }
        return {role: entry for role, entry in named.items() if entry is not None}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network in use."""

    entry: Entry
    file: Prepared

    def described(self) -> str:
        return f"{self.entry.name}@{self.file.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A service that is ready, and what it runs with."""

    service: FaceService
    loaded: dict[str, Loaded]
    catalogue: Catalogue
    seconds: float

    async def aclose(self) -> None:
        await self.service.aclose()


def choose(settings: Settings, catalogue: Catalogue) -> Chosen:
    """The entries that the settings name. Raises UnknownModel naming the variable and the choice there is."""

    def named(name: str | None, task: Task) -> Entry | None:
        return None if name is None else catalogue.find(name, task, SETTINGS[task])

    return Chosen(
        catalogue.find(settings.det_name, "detection", SETTINGS["detection"]),
        named(None if settings.rec_ignore else settings.rec_name, "recognition"),
        named(None if settings.ga_ignore else settings.ga_name, "attributes-gender-age"),
        named(settings.mask_detector, "attributes-mask"),
        named(settings.landmarks_name, "landmarks-106"),
    )


def chosen_names(settings: Settings, catalogue: Catalogue) -> list[str]:
    """The names of all models that the settings load."""
    return [entry.name for entry in choose(settings, catalogue).entries().values()]


def prepare(settings: Settings) -> dict[str, Loaded]:
    """Make every network's file ready, once; what a start without work left to do spends milliseconds on."""
    backend(settings.inference_backend)
    AddressPolicy.parse(settings.url_allow)
    catalogue = read_catalogue(settings.models_dir)
    store = open_store(settings, catalogue)
    chosen = choose(settings, catalogue)
    return {role: Loaded(entry, store.prepare(entry)) for role, entry in chosen.entries().items()}


def open_store(settings: Settings, catalogue: Catalogue) -> Store:
    """The models folder as the settings allow it to be used. Raises ConfigurationError for a misspelt licence."""
    licences.check_flags(settings.accept_licences, (entry.licence.id for entry in catalogue.entries.values()))
    return Store(Fetching(settings.models_dir, offline=settings.offline), settings.accept_licences)


def try_model(entry: Entry, path: Path, settings: Settings) -> list[float]:
    """What the network in the file `path` answers on the self-test picture. Raises GraphRejected, InferenceFailed."""
    decoder = Decoder(Limits())
    picture = decoder.decode(data_file("selftest.png").read_bytes())
    model = _built(Loaded(entry, Prepared(path, "0" * 64, False)), settings)
    return selftest.numbers(entry.task, model, picture)


def open_runtime(settings: Settings, watcher: RuntimeWatcher) -> Runtime:
    """Load, self-test and warm up the whole path; what is returned is ready.

    Raises ConfigurationError and ModelFileError.
    """
    started = time.monotonic()
    catalogue = read_catalogue(settings.models_dir)
    loaded = prepare(settings)
    decoder = Decoder(Limits(settings.max_image_bytes, settings.max_image_pixels))
    pipeline = _pipeline(settings, loaded, decoder, watcher)
    warm_up(pipeline, decoder, settings)
    service = FaceService(
        pipeline,
        decoder,
        Folder(settings.root_images_dir, settings.max_image_bytes),
        Downloader(
            AddressPolicy.parse(settings.url_allow),
            limit=settings.max_image_bytes,
            seconds=settings.url_timeout,
            headers=settings.def_img_req_headers,
        ),
        watcher,
        workers=settings.image_workers or 1 + cores(settings),
        max_requests=settings.max_requests,
    )
    gc.collect()
    give_back()
    gc.freeze()  # what is loaded stays; the collector need not walk it on every request
    seconds = time.monotonic() - started
    names = " ".join(f"{role}={model.described()}" for role, model in loaded.items())
    log.info(
        "loaded %s, backend %s, %d threads a run, %.1f s", names, settings.inference_backend, cores(settings), seconds
    )
    return Runtime(service, loaded, catalogue, seconds)


def cores(settings: Settings) -> int:
    """Threads for one run of a network: what is set, or this process's share of the cores it may use."""
    if settings.inference_threads:
        return settings.inference_threads
    return max(1, len(os.sched_getaffinity(0)) // settings.num_workers)


def warm_up(pipeline: FacePipeline, decoder: Decoder, settings: Settings) -> None:
    """Run the whole path on the self-test picture, as requests will: nothing compiles or grows on a request."""
    picture = decoder.decode(data_file("selftest.png").read_bytes())
    deadline = Deadline(600)
    # A picture to be shrunk and one to be enlarged; a low threshold, for many proposals.
    times = 2 + max(settings.max_size) // min(picture.width, picture.height)
    large = Image(np.tile(picture.pixels, (times, times, 1))[:-1])
    for image in (picture, large):
        pipeline.faces(image, ExtractOptions(0.05, limit_faces=8, crops=True), deadline)
    for stage in pipeline.stages().values():
        if isinstance(stage, CropStage):
            crops = stage.crop.cut(picture.pixels, selftest.FACE)
            for count in (count for count in _WARM_CROPS if count <= settings.rec_batch_size):
                stage.run(crops.repeat(count, axis=0), deadline)


def _pipeline(settings: Settings, loaded: dict[str, Loaded], decoder: Decoder, watcher: RuntimeWatcher) -> FacePipeline:
    picture = decoder.decode(data_file("selftest.png").read_bytes())
    detector = _built(loaded["det"], settings)
    _tested(loaded["det"], selftest.detector_numbers(detector, picture))

    def crop_stage(role: str, name: str, numbers: Callable[[CropModel[T], Image], list[float]]) -> CropStage[T] | None:
        if role not in loaded:
            return None
        model: CropModel[T] = _built(loaded[role], settings)
        _tested(loaded[role], numbers(model, picture))
        return CropStage(name, model, max_batch=settings.rec_batch_size, observe_batch=_batches(watcher, name))

    if settings.det_extra_sizes and detector.sizes.fixed:
        only = "×".join(map(str, detector.sizes.fixed))
        log.warning("DET_EXTRA_SIZES has no effect: %s takes pictures of %s only", loaded["det"].entry.name, only)
    detection = DetectionStage(
        detector,
        max_batch=settings.det_batch_size,
        max_size=settings.max_size,
        largest=settings.max_detection_size,
        extra_sizes=settings.det_extra_sizes,
        observe_batch=_batches(watcher, "detection"),
    )
    return FacePipeline(
        detection,
        crop_stage("rec", "embedding", selftest.embedder_numbers),
        crop_stage("ga", "gender_age", selftest.gender_age_numbers),
        crop_stage("mask", "masks", selftest.mask_numbers),
        crop_stage("lmk", "landmarks", selftest.landmark_numbers),
        max_faces=settings.max_faces,
        observe=watcher.stage,
    )


def _batches(watcher: RuntimeWatcher, stage: str) -> Callable[[int], None]:
    return lambda size: watcher.batch(stage, size)


def _built(model: Loaded, settings: Settings) -> Any:
    """The network as its family's object; families and sessions meet here."""
    entry = model.entry
    file = ModelFile(entry.name, model.file.path, model.file.sha256, entry.fed(), cores(settings))
    session: Session = backend(settings.inference_backend)(file)
    return family(entry.family).build(session, entry.params)


def _tested(model: Loaded, numbers: list[float]) -> None:
    known = model.entry.canonical
    if known is not None and known.sha256 not in (None, model.file.sha256):
        known = None  # other weights of the same name
    selftest.check(model.entry.name, numbers, known.numbers if known else None, known.tolerance if known else 0.0)
