"""Whose vectors a collection holds, and whether they are those of a network that is loaded."""

from collections.abc import Mapping
from itertools import pairwise

from visage.api.bodies import answering
from visage.api.state import State
from visage.api.v1.models import GivenModel
from visage.deadline import Deadline
from visage.errors import EmbeddingMismatch, NoRecogniser
from visage.networks import Loaded
from visage.options import ExtractOptions
from visage.search.base import Collection, Recogniser
from visage.search.identity import described as told
from visage.search.identity import fed_text, identity


async def recogniser_of(state: State, name: str | None, deadline: Deadline) -> Recogniser:
    """The identity of the recogniser `name`, or of the default.

    Raises RequestValidationError for one that is not loaded, NoRecogniser where none is.
    """
    runtime = state.ready()
    options = ExtractOptions(recogniser=name)
    loaded = answering(options, runtime.networks).get("rec")
    if loaded is None:
        raise NoRecogniser("No recognition network is loaded (REC_NAME): faces have no vectors to keep")
    known = state.dimensions.get(loaded.entry.name)
    if known is None:
        known = state.dimensions[loaded.entry.name] = await runtime.service.dimension(options, deadline)
    return identity(loaded.entry, loaded.file.sha256, known)


def bound(state: State, collection: Collection, asked: str | None = None, place: str = "body") -> str:
    """The name of the loaded recogniser whose vectors the collection holds. `asked`: which one the request names, and
    in which `place`.

    Raises EmbeddingMismatch; RequestValidationError for a name of no network that is loaded, nor the collection's.
    """
    held, networks = collection.recogniser, state.ready().networks
    if asked not in (None, held.name):
        answering(ExtractOptions(recogniser=asked), networks, place)
        raise EmbeddingMismatch(
            f"Collection {collection.name!r} holds vectors of {told(held)}; the request names {asked}. Leave rec_name "
            "out, or make a collection for that network"
        )
    loaded = networks.named.get("rec", {})
    same = loaded.get(held.name)
    if same is not None and _is(same, held):
        return held.name
    others = ", ".join(model.described() for model in loaded.values()) or "none"
    raise EmbeddingMismatch(
        f"Collection {collection.name!r} holds vectors of {told(held)}; loaded are: {others}. "
        f"Load {held.name} (REC_NAME or MODELS_LOADED), or make a collection for the other network"
    )


def _is(loaded: Loaded, held: Recogniser) -> bool:
    return loaded.file.sha256 == held.sha256 and fed_text(loaded.entry.fed()) == held.preprocess


def check_model(collection: Collection, model: GivenModel | None) -> None:
    """Raises EmbeddingMismatch for vectors that are said to be another recogniser's."""
    held = collection.recogniser
    if model is None or model.agrees(held.sha256, held.preprocess):
        return
    raise EmbeddingMismatch(
        f"Collection {collection.name!r} holds vectors of {told(held)}; given are those of {_other(model, held.sha256)}"
    )


def check_alike(models: Mapping[str, GivenModel | None], loaded: Loaded | None) -> None:
    """Raises EmbeddingMismatch for vectors, by what they are called, that are said to be another recogniser's than the
    `loaded` one, which embeds the pictures beside them and says the threshold; without one: than the others'.
    """
    said = {name: model for name, model in models.items() if model is not None}
    if loaded is not None:
        sha256, fed = loaded.file.sha256, fed_text(loaded.entry.fed())
        for name, model in said.items():
            if not model.agrees(sha256, fed):
                raise EmbeddingMismatch(
                    f"Vector {name} is of {_other(model, sha256)}; compared is by {loaded.described()}. Name the "
                    "network of both as rec_name, one that is loaded (REC_NAME or MODELS_LOADED)"
                )
        return
    for (name, model), (other, its) in pairwise(said.items()):
        if not model.agrees(its.sha256, its.preprocess):
            raise EmbeddingMismatch(
                f"Vector {name} is of {model.described()}, {other} of {_other(its, model.sha256)}: those of two "
                "recognisers have nothing in common"
            )


def _other(model: GivenModel, sha256: str) -> str:
    """What is told of a recogniser that is not the one of these weights, or is fed otherwise."""
    return model.described() + (f", fed {model.preprocess}" if model.agrees(sha256, None) else "")


def check_length(collection: Collection, length: int) -> None:
    """Raises EmbeddingMismatch for a vector of another length."""
    if length != collection.recogniser.dimension:
        raise EmbeddingMismatch(
            f"Collection {collection.name!r} holds vectors of {collection.recogniser.dimension} numbers "
            f"({collection.recogniser.name}); this one has {length}"
        )
