"""What every test may ask for. Tests that need `../shared` skip where it is absent."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests.support import REPO, SHARED, TESTDATA, Client, client_of, settings_of
from visage.runtime import prepare

# How long an example takes tells of the machine, and of who else is on it.
settings.register_profile("visage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("visage")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that was run in this process leaves no handler on a stream that is closed by now, and no level."""
    root, ours = logging.getLogger(), logging.getLogger("visage")
    level = ours.level
    yield
    ours.setLevel(level)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real pictures and weights."""
    if not TESTDATA.is_dir():
        pytest.skip(f"{SHARED.name}/testdata is not beside the project: real weights and pictures are not at hand")
    return TESTDATA


@pytest.fixture(scope="session")
def spec() -> Path:
    """The folder of the wire contract's captures."""
    if not (SHARED / "spec").is_dir():
        pytest.skip(f"{SHARED.name}/spec is not beside the project: the captures are not at hand")
    return SHARED / "spec"


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the catalogue and the embedded pair, prepared once for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "visage-models"
    with FileLock(f"{folder}.lock"):
        if not (folder / "models.json").exists():
            folder.mkdir(exist_ok=True)
            shutil.copy(REPO / "models" / "models.json", folder / "models.json")
            prepare(settings_of(MODELS_DIR=str(folder)))
    return folder


@pytest.fixture(scope="session")
def real(models_dir: Path) -> Iterator[Client]:
    """A client of the whole application with the embedded pair, in process."""
    with client_of(settings_of(MODELS_DIR=str(models_dir))) as client:
        yield client


@pytest.fixture(scope="session")
def hopper() -> bytes:
    """A JPEG with one face."""
    return (REPO / "misc" / "images" / "grace_hopper.jpg").read_bytes()


@pytest.fixture(scope="session")
def group() -> bytes:
    """A JPEG with 24 faces."""
    return (REPO / "misc" / "images" / "group.jpg").read_bytes()
