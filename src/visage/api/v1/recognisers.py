"""Whose vectors a collection holds, and whether they are those of a network that is loaded."""

from visage.api.bodies import answering
from visage.api.state import State
from visage.api.v1.bodies import BulkModel
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


def bound(state: State, collection: Collection, asked: str | None = None) -> str:
    """The name of the loaded recogniser whose vectors the collection holds. Raises EmbeddingMismatch."""
    held = collection.recogniser
    loaded = state.ready().networks.named.get("rec", {})
    same = loaded.get(held.name)
    if same is not None and _is(same, held) and asked in (None, held.name):
        return held.name
    others = ", ".join(model.described() for model in loaded.values()) or "none"
    raise EmbeddingMismatch(
        f"Collection {collection.name!r} holds vectors of {told(held)}; "
        + (f"the request names {asked}" if asked not in (None, held.name) else f"loaded are: {others}")
        + f". Load {held.name} (REC_NAME or MODELS_LOADED), or make a collection for the other network"
    )


def _is(loaded: Loaded, held: Recogniser) -> bool:
    return loaded.file.sha256 == held.sha256 and fed_text(loaded.entry.fed()) == held.preprocess


def check_model(collection: Collection, model: BulkModel | None) -> None:
    """Raises EmbeddingMismatch for a vector that says it is another recogniser's."""
    held = collection.recogniser
    if model is None or (model.sha256 == held.sha256 and model.preprocess in (None, held.preprocess)):
        return
    raise EmbeddingMismatch(
        f"Collection {collection.name!r} holds vectors of {told(held)}; this one is of {model.name}@{model.sha256[:12]}"
        f"{'' if model.sha256 != held.sha256 else f', fed otherwise ({model.preprocess})'}"
    )


def check_length(collection: Collection, length: int) -> None:
    """Raises EmbeddingMismatch for a vector of another length."""
    if length != collection.recogniser.dimension:
        raise EmbeddingMismatch(
            f"Collection {collection.name!r} holds vectors of {collection.recogniser.dimension} numbers "
            f"({collection.recogniser.name}); this one has {length}"
        )
