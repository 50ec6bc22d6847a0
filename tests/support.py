"""Building blocks of tests: constant networks, applications over them, clients of both."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from fastapi.testclient import TestClient

from visage.api.app import create_app
from visage.backends.base import Sizes
from visage.faces import Detections, Embedding, Floats, GenderAge, ImageBatch, MaskScores, Pixels
from visage.families.base import ALIGNED, Crop, Proposals
from visage.images.addresses import AddressPolicy
from visage.images.decoding import Decoder, Limits
from visage.images.fetching import Downloader, Folder
from visage.networks import Loaded, Networks
from visage.pipeline import CropStage, DetectionStage
from visage.rack import Rack, Shelf
from visage.runtime import Runtime, RuntimeWatcher
from visage.service import FaceService
from visage.settings import Settings
from visage.slot import Slot
from visage.zoo.catalogue import Catalogue, Entry, Licence
from visage.zoo.licences import needs_acceptance
from visage.zoo.reading import read_catalogue
from visage.zoo.store import Prepared

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared"
TESTDATA = SHARED / "testdata"


class Client(TestClient):
    """Asks by a name that leads to this machine, as callers of a service on loopback do."""

    def __init__(self, app: Any, **how: Any) -> None:
        super().__init__(app, **{"base_url": "http://localhost", **how})


# Every licence of the shipped catalogue that an operator has to accept; tests put such files there by hand.
LICENCES = sorted(
    {
        entry.licence.id
        for entry in read_catalogue(REPO / "models").entries.values()
        if needs_acceptance(entry.licence.id)
    }
)
_OF_THE_PUBLISHED_FILE = ("sources", "sha256", "md5", "bytes", "canonical")
ACCEPTED = {"ACCEPT_LICENCES": ",".join(LICENCES)}


def settings_of(**environ: str) -> Settings:
    """Settings from exactly these variables; engines are raced only where a test says so."""
    return Settings.load({"INFERENCE_BACKEND": "onnx", **environ})[0]


def own_address() -> str:
    """An address of this machine that no other process of the tests uses.

    A port that was free there, or was closed, is not taken by a test that runs at the same time.
    """
    pid = os.getpid()
    return f"127.{64 + (pid >> 16) % 64}.{pid >> 8 & 255}.{pid & 255}"


def threads_since(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Those that were begun since and go on; not those that an event loop, be it another test's, keeps for more work."""
    begun = (thread for thread in threading.enumerate() if thread not in before)
    return [thread for thread in begun if not thread.name.startswith(("asyncio_", "AnyIO"))]


class Clock:
    """Stands in for a module's `time`: it goes on where somebody sleeps or is told to, the same on every machine."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class FindsAtOnce:
    """A detector's double that says in `detect` what it finds: its proposals, of which it suppresses none."""

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        raise NotImplementedError

    def propose(self, images: ImageBatch, thresholds: Floats, /) -> list[Proposals]:
        return [Proposals(_rows(found), 1.0) for found in self.detect(images, thresholds)]

    def suppress(self, sizes: Sequence[Proposals], /) -> Detections:
        rows = np.concatenate([one.rows for one in sizes])
        masks = rows[:, 15] if rows.shape[1] == 16 else None
        return Detections(rows[:, :4], rows[:, 4], rows[:, 5:15].reshape(-1, 5, 2), masks)


def _rows(found: Detections) -> Floats:
    columns = [found.boxes, found.scores[:, None], found.landmarks.reshape(-1, 10)]
    return np.concatenate(columns if found.masks is None else [*columns, found.masks[:, None]], axis=1)


class ConstantDetector(FindsAtOnce):
    """Finds the two faces of the captures (spec/captures/README.md) in any picture of 640×480."""

    sizes = Sizes((640, 480))
    max_batch = 0
    streams = 0

    boxes = np.array([[100, 100, 200.7, 230], [300, 120, 330, 150]], np.float32)
    scores = np.array([0.91, 0.7], np.float32)
    landmarks = np.array(
        [
            [[130, 140], [170, 140], [150, 165], [135, 190], [165, 190]],
            [[309, 132], [321, 132], [315, 138], [310, 145], [320, 145]],
        ],
        np.float32,
    )

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        found = Detections(self.boxes, self.scores, self.landmarks)
        return [found[found.scores > threshold] for threshold in thresholds]


class ConstantEmbedder:
    """The i-th crop of a run is (1…512)·(i+1) before its length is taken off."""

    crop = ALIGNED
    max_batch = 0
    streams = 0

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        raw = [np.arange(1, 513, dtype=np.float32) * (i + 1) for i in range(len(crops))]
        return [Embedding(v / np.linalg.norm(v), float(np.linalg.norm(v))) for v in raw]


class ConstantGenderAge:
    crop = ALIGNED
    max_batch = 0
    streams = 0

    def predict(self, crops: Pixels, /) -> list[GenderAge]:
        return [GenderAge(1, 31)] * len(crops)


class ConstantMasks:
    crop = ALIGNED
    max_batch = 0
    streams = 0

    def predict(self, crops: Pixels, /) -> list[MaskScores]:
        return [MaskScores(0.02, 0.98)] * len(crops)


class ConstantLandmarks:
    """106 places along the diagonal of the square around the box, from its top left corner on, in every face."""

    crop = Crop(192, 1.5)
    max_batch = 0
    streams = 0
    steps = np.linspace(0, 1, 106, dtype=np.float32)[:, None].repeat(2, axis=1)

    def predict(self, crops: Pixels, /) -> list[Floats]:
        assert crops.shape[1:] == (192, 192, 3)
        return [self.steps * 192] * len(crops)


def entry(name: str, family: str = "scrfd") -> Entry:
    return Entry(name=name, family=family, licence=Licence(id="MIT"))


def constant_runtime(
    settings: Settings,
    watcher: RuntimeWatcher,
    *,
    detector: Any = None,
    embedder: Any = None,
    detectors: Mapping[str, Any] | None = None,
    embedders: Mapping[str, Any] | None = None,
    recognition: bool = True,
    attributes: bool = True,
    landmarks: bool = False,
    workers: int = 4,
) -> Runtime:
    """A runtime over constant networks: everything but the networks is real.

    `detectors` and `embedders` stand beside the defaults by name; without `recognition` there is no default embedder.
    """
    found = {"constant_detector": detector or ConstantDetector(), **(detectors or {})}
    known = {"constant_embedder": embedder or ConstantEmbedder()} if recognition else {}
    known |= embedders or {}

    def detection(network: Any) -> DetectionStage:
        return DetectionStage(
            network,
            max_batch=settings.det_batch_size,
            max_size=settings.max_size,
            extra_sizes=settings.det_extra_sizes,
            square=settings.squares,
        )

    def shelf(make: Callable[[Any], Any], networks: Mapping[str, Any], default: str | None) -> Shelf[Any]:
        idle = settings.models_idle_seconds
        slots = {name: Slot(name, opener_of(partial(make, network)), idle=idle) for name, network in networks.items()}
        return Shelf(slots, default)

    ages = {"constant_ages": ConstantGenderAge()} if attributes else {}
    masks = {"constant_masks": ConstantMasks()} if attributes else {}
    dense = {"constant_landmarks": ConstantLandmarks()} if landmarks else {}
    rack = Rack(
        shelf(detection, found, "constant_detector"),
        shelf(partial(CropStage, "embedding", max_batch=1), known, "constant_embedder" if recognition else None),
        shelf(partial(CropStage, "gender_age"), ages, next(iter(ages), None)),
        shelf(partial(CropStage, "masks"), masks, next(iter(masks), None)),
        shelf(partial(CropStage, "landmarks"), dense, next(iter(dense), None)),
        max_faces=settings.max_faces,
        observe=watcher.stage,
    )
    service = FaceService(
        rack,
        Decoder(Limits(settings.max_image_bytes, settings.max_image_pixels)),
        Folder(settings.root_images_dir, settings.max_image_bytes),
        Downloader(
            AddressPolicy.parse(settings.url_allow),
            limit=settings.max_image_bytes,
            seconds=settings.url_timeout,
            headers=settings.def_img_req_headers,
        ),
        watcher,
        workers=workers,
        max_requests=settings.max_requests,
    )
    defaults = {"det": loaded_of("constant_detector", "scrfd", "d")}
    if recognition:
        defaults["rec"] = loaded_of("constant_embedder", "arcface", "e")
    more = [loaded_of(name, "scrfd", "b") for name in detectors or ()]
    more += [loaded_of(name, "arcface", "c") for name in embedders or ()]
    networks = Networks.of(defaults, more)
    return Runtime(service, networks, Catalogue({model.entry.name: model.entry for _, model in networks.all()}), 0.0)


def loaded_of(name: str, family: str, digest: str) -> Loaded:
    return Loaded(entry(name, family), Prepared(Path("constant"), digest * 64, True))


def opener_of(make: Callable[[], Any]) -> Callable[[], AbstractContextManager[Any]]:
    """Opens what `make` makes, and closes it."""
    return lambda: closing(make())


def state_of(client: Client) -> Any:
    """What its application keeps: tests look into it, or give it another clock, where no route tells or takes it."""
    return client.app.state.visage  # type: ignore[attr-defined]  # TestClient knows an ASGI app, this is FastAPI's


@contextmanager
def client_of(settings: Settings, **how: Any) -> Iterator[Client]:
    """A client of an application in this process, once it is ready; it raises no server error as an exception."""
    with Client(create_app(settings, **how), raise_server_exceptions=False, follow_redirects=False) as client:
        wait_ready(lambda: client.get("/ready").status_code == 200)
        yield client


@contextmanager
def constant_client(*, runtime: Mapping[str, Any] | None = None, **environ: str) -> Iterator[Client]:
    """A client of an application over constant networks with these environment variables."""
    more = dict(runtime or {})
    with client_of(settings_of(**environ), opener=lambda s, w: constant_runtime(s, w, **more)) as client:
        yield client


def wait_ready(ready: Any, seconds: float = 90) -> None:
    """Until it is so; only a fault takes so many seconds, however busy the machine is."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, f"not ready within {seconds} s"
        time.sleep(0.02)


class Server:
    """`visage serve` as a process of its own on a port that the system chose."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Its whole lines; the last one may be being written just now."""
        text = self._log.read_text("utf-8")
        return text[: text.rfind("\n") + 1]


@contextmanager
def served(folder: Path, command: Sequence[str] = ("-m", "visage", "serve"), **environ: str) -> Iterator[Server]:
    """Start the service for real and wait until it is ready; `folder` takes its log."""
    log = folder / "server.log"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    env |= {"PORT": "0", "LOG_FORMAT": "json", "INFERENCE_BACKEND": "onnx", "PYTHONPATH": str(REPO / "src"), **environ}
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen([sys.executable, *command], cwd=REPO, env=env, stdout=out, stderr=out, text=True)
    server = Server(process, "", log)
    try:
        until = time.monotonic() + 200  # before pytest ends the test, which would not show the log
        while not server.url:
            assert process.poll() is None and time.monotonic() < until, log.read_text("utf-8")
            time.sleep(0.05)
            for line in server.log().splitlines():
                if "visage is ready: " in line:
                    server.url = json.loads(line)["event"].split("ready: ")[1].split()[0]
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def extract(client: Client | httpx.Client, *images: bytes, **fields: Any) -> Any:
    """POST /extract with these files as base64; the parsed answer, which must be a 200."""
    body = {"images": {"data": [b64(image) for image in images]}, **fields}
    answer = client.post("/extract", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_hand(name: str) -> dict[str, Any]:
    """The shipped catalogue's fields for `name`, but for what ties them to the published file.

    Tests put files of the same networks there whose bytes are other ones.
    """
    fields: dict[str, Any] = json.loads((REPO / "models" / "models.json").read_text("utf-8"))[name]
    return {key: value for key, value in fields.items() if key not in _OF_THE_PUBLISHED_FILE}


def models_folder(folder: Path, entries: Mapping[str, Mapping[str, Any]], files: Mapping[str, Path]) -> Path:
    """A models folder with this catalogue and links to these weight files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models.json").write_text(json.dumps(entries), "utf-8")
    for name, file in files.items():
        place = folder / "onnx" / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / f"{name}.onnx")
    return folder
