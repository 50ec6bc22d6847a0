"""Making the file that is opened out of the file that was published, and proving that both say the same."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from visage.backends import backend
from visage.backends.base import ModelFile, Session
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, Pixels
from visage.zoo.catalogue import Entry
from visage.zoo.graph import WISHES, apply

log = logging.getLogger(__name__)

# Rewritten and not, a network's outputs differ by less than this part of their largest number.
_TOLERANCE = 1e-3


def prepare_graph(entry: Entry, source: Path, target: Path) -> bool:
    """Write `source`, rewritten as `entry` says, to `target`; False, and nothing written, where all is well as it is.

    What must be done is done; of what would be good to have (any batch, any size) as much as the graph bears, which
    is proved by running both forms. Raises GraphRejected, saying what was expected and what was found.
    """
    names = entry.graph_rewrites()
    model = _loaded(entry, source)
    must = [name for name in names if name not in WISHES]
    wishes = [name for name in names if name in WISHES]
    try:
        changed = apply(model, must)
        _check_input(entry, model)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".proof-") as folder:
            before = source
            if changed:
                before = Path(folder) / "before.onnx"
                _save(model, before)
            made = _with_wishes(entry, model, wishes, before, target)
            if changed and not made:
                before.replace(target)
            return changed or made
    except (onnx.checker.ValidationError, ValueError, TypeError, AttributeError, LookupError) as exc:
        raise GraphRejected(f"{entry.name}: {source.name} cannot be rewritten: {_first_line(exc)}") from exc


def is_onnx(path: Path) -> bool:
    """Whether the file can be read as an ONNX graph."""
    try:
        return _is_whole(onnx.load(path, format="protobuf", load_external_data=False))
    except DecodeError:
        return False


def _with_wishes(entry: Entry, model: onnx.ModelProto, wishes: Sequence[str], before: Path, target: Path) -> bool:
    """Write `target` with as many of the wishes as hold, the first ones first; False where none changes a thing."""
    if _refusal(entry, model, wishes, before, target):
        kept: list[str] = []
        for wish in wishes:
            reason = _refusal(entry, model, [*kept, wish], before, target)
            if reason:
                log.info("%s: its graph does not bear %s (%s)", entry.name, wish, reason)
            else:
                kept.append(wish)
    return target.exists()


def _refusal(entry: Entry, model: onnx.ModelProto, wishes: Sequence[str], before: Path, target: Path) -> str:
    """Why the wishes do not hold together; empty where they do, and `target` is then written if they change a thing."""
    tried = onnx.ModelProto()
    tried.CopyFrom(model)
    draft = target.with_name(f"{target.name}.tried")
    try:
        if apply(tried, wishes):
            _save(tried, draft)
            _prove(entry, before, draft)
            draft.replace(target)
    except (GraphRejected, InferenceFailed, onnx.checker.ValidationError, ValueError, LookupError) as exc:
        draft.unlink(missing_ok=True)
        return _first_line(exc)
    return ""


def _loaded(entry: Entry, source: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(source, format="protobuf", load_external_data=False)
    except DecodeError as exc:
        raise GraphRejected(f"{entry.name}: {source.name} is no ONNX file") from exc
    if not _is_whole(model):
        raise GraphRejected(f"{entry.name}: {source.name} is no ONNX file, or one that was cut short")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise GraphRejected(f"{entry.name}: {source.name} leaves its weights in another file; export it as one file")
    return model


def _is_whole(model: onnx.ModelProto) -> bool:
    """Any bytes may happen to be a protobuf; the operators' versions are written last."""
    return bool(model.graph.node and model.opset_import)


def _save(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _check_input(entry: Entry, model: onnx.ModelProto) -> None:
    """Raises GraphRejected unless the graph takes one picture input as the entry says."""
    inputs = model.graph.input
    layout = entry.fed().layout
    found = [(i.name, [d.dim_value or d.dim_param or "?" for d in i.type.tensor_type.shape.dim]) for i in inputs]
    size = entry.input.size if entry.input else None
    sides: list[int | str] = [size[1], size[0]] if size else ["H", "W"]
    expected = ["N", 3, *sides] if layout == "nchw" else ["N", *sides, 3]
    if len(found) != 1 or not _fits(expected, found[0][1]):
        said = "; ".join(f"{name} {'×'.join(map(str, axes))}" for name, axes in found) or "none"
        shape = "×".join(map(str, expected))
        raise GraphRejected(f"{entry.name}: one input {shape} was expected of family {entry.family}, found: {said}")


def _fits(expected: Sequence[int | str], found: Sequence[int | str]) -> bool:
    return len(found) == len(expected) and all(
        not (isinstance(e, int) and isinstance(f, int)) or e == f for e, f in zip(expected, found, strict=True)
    )


def _prove(entry: Entry, before: Path, after: Path) -> None:
    """Raises GraphRejected unless both files answer alike, and the new one for a batch as for its single pictures."""
    old, new = (_opened(entry, path) for path in (before, after))
    declared = entry.input.size if entry.input else None
    width, height = old.sizes.fixed or declared or (4 * entry.stride, 3 * entry.stride)
    pictures = _noise(max(2, old.max_batch), width, height)
    alone = [new.run(picture[None]) for picture in pictures[:2]]
    # as few as the old form takes: where it has no batch axis, several pictures' numbers are mixed
    known = old.run(pictures[: old.max_batch or 1])
    _agree("as published", [out[:1] if len(out) == old.max_batch else out for out in known], alone[0])
    if new.max_batch != 1:
        together = new.run(pictures[:2])
        for i, answer in enumerate(alone):
            _agree("in a batch", answer, [out[i : i + 1] for out in together])
    if new.sizes.fixed is None and old.sizes.fixed is not None:
        new.run(_noise(1, width + entry.stride, height + 2 * entry.stride))
    old.close()
    new.close()


def _opened(entry: Entry, path: Path) -> Session:
    return backend("onnx")(ModelFile(entry.name, path, "0" * 64, entry.fed(), threads=0, stride=entry.stride))


def _noise(count: int, width: int, height: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def _agree(how: str, expected: Sequence[Floats], found: Sequence[Floats]) -> None:
    """The same numbers in the same order; axes of length 1 do not count."""
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.size != b.size:
            raise GraphRejected(f"output {number} has {b.size} numbers, {how} {a.size}")
        largest = float(np.abs(a).max(initial=1e-6))
        off = float(np.abs(a.reshape(-1) - b.reshape(-1)).max(initial=0)) / largest
        if not off <= _TOLERANCE:
            raise GraphRejected(f"output {number} is off by {off:.2g} of its largest number against {how}")


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0][:300] or type(exc).__name__
