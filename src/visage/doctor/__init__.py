"""Does this machine fit these settings? Each check is a finding with a remedy; nothing is loaded or downloaded."""

from collections.abc import Callable, Iterator
from functools import partial

from visage.doctor import computing, galleries, machine, networks
from visage.doctor.finding import Finding, Verdict
from visage.errors import VisageError
from visage.settings import Settings
from visage.zoo.catalogue import Catalogue
from visage.zoo.reading import read_catalogue

__all__ = ["Finding", "Verdict", "findings"]

Check = Callable[[], Iterator[Finding]]


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that a start depends on, in the order in which it would stumble."""
    yield from machine.python()
    yield from machine.cores(settings.num_workers)
    yield from machine.files()
    yield from machine.scratch()
    yield from _guarded("models folder", partial(networks.folder, settings.models_dir))
    yield from _guarded("data folder", partial(galleries.data, settings.data_dir))
    yield from _guarded("galleries", partial(galleries.stored, settings))
    catalogue = None
    try:
        catalogue = read_catalogue(settings.models_dir)
    except VisageError as error:
        yield Finding("catalogue", "bad", str(error), "mend or remove what MODELS_DIR has of its own")
    yield from _of_networks(settings, catalogue) if catalogue is not None else ()
    yield from _guarded("engines", partial(computing.engines, settings, catalogue))
    yield from _guarded("gpu", partial(computing.gpu, settings))
    yield from _guarded("milvus", partial(galleries.milvus, settings))
    yield from _guarded("access", partial(galleries.access, settings))
    yield from _guarded("port", partial(machine.port, settings.host, settings.port))


def _of_networks(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    """One line where the choice itself is wrong, else each network's and the memory that all of them take."""
    chosen = list(_guarded("networks", partial(networks.networks, settings, catalogue)))
    yield from chosen
    if not any(one.about == "choice" for one in chosen):
        yield from _guarded("memory", partial(networks.memory, settings, catalogue))


def _guarded(about: str, check: Check) -> Iterator[Finding]:
    """A check that fails for a reason of its own is a finding, too."""
    try:
        yield from check()
    except VisageError as error:
        yield Finding(about, "bad", str(error))
    except OSError as exc:
        yield Finding(about, "bad", f"could not be checked: {exc.strerror or exc}")
