"""InsightFace's packs as they are: a folder or a zip of ONNX files in the models folder, told apart by their content.

`buffalo_l/` or `buffalo_l.zip` gives models `buffalo_l.det_10g`, `buffalo_l.w600k_r50`, …; the pack's own name stands
for its one model of the task that is asked for. How a file is told apart and fed follows the insightface package
(model_zoo.py, arcface_onnx.py, attribute.py): by input size, outputs, and whether the graph begins with a subtraction
and a multiplication of its own.
"""

import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from visage.families import FAMILIES
from visage.zoo.catalogue import PUBLISHED_PACKS, Entry, InputShape, Licence, LocalFile, Pack, PreprocessOverride

log = logging.getLogger(__name__)

# Where the published ones are had, and under what.
ADDRESSES = (
    "https://github.com/deepinsight/insightface/releases/download/model-zoo/{name}.zip",
    "https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip",
)
PACK_LICENCE = "insightface-nc"
_LICENCE = Licence(id=PACK_LICENCE, commercial=False)
_UNSTATED = Licence(id="unstated", note="A pack of unknown origin.")

# Folders of the models folder that are none.
_OURS = frozenset({"onnx", "archives", "trt-engines"})
# Among so many first nodes a normalisation inside the graph is looked for.
_FIRST = 8


def packs(models_dir: Path) -> dict[str, Pack]:
    """The packs of a models folder by name; their files are read when they are asked for."""
    if not models_dir.is_dir():
        return {}
    found: dict[str, Pack] = {}
    for path in sorted(models_dir.iterdir()):
        name = path.stem if path.suffix == ".zip" else path.name
        if path.name.startswith(".") or path.name in _OURS or name in found:
            continue
        if path.suffix == ".zip" if path.is_file() else any(_files(path)):
            found[name] = partial(_read, path, path.stat().st_mtime_ns)
    return found


@lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> Mapping[str, Entry]:
    """The models of the pack at `path`, as it was at `changed`; what no family reads is left out with a word."""
    name = path.stem if path.suffix == ".zip" else path.name
    entries: dict[str, Entry] = {}
    try:
        for place, content in _members(path):
            stem = PurePosixPath(place.member or place.path).stem
            fields = _recognised(content)
            if fields is None:
                log.info("pack %s: %s.onnx is left out: no family reads it", name, stem)
                continue
            licence = _LICENCE if name in PUBLISHED_PACKS else _UNSTATED
            description = f"{stem} of pack {name}"
            entries[f"{name}.{stem}"] = Entry(
                name=f"{name}.{stem}", description=description, sources=(place,), licence=licence, **fields
            )
    except (OSError, zipfile.BadZipFile) as exc:
        log.warning("pack %s cannot be read: %s", path, exc)
    return entries


def _files(folder: Path) -> Iterator[Path]:
    """Its ONNX files, or those of the folder of the same name that some archives wrap them in."""
    inner = folder / folder.name
    return (path for at in (folder, inner) if at.is_dir() for path in sorted(at.glob("*.onnx")))


def _members(path: Path) -> Iterator[tuple[LocalFile, bytes]]:
    if path.is_dir():
        for file in _files(path):
            yield LocalFile(path=str(file.relative_to(path.parent))), file.read_bytes()
    else:
        with zipfile.ZipFile(path) as archive:
            for member in sorted(name for name in archive.namelist() if name.endswith(".onnx")):
                yield LocalFile(path=path.name, member=member), archive.read(member)


@dataclass(frozen=True, slots=True)
class _Signature:
    """What tells a network: its input's (width, height), 0 for any, the last axis of each output, and whether the
    graph begins with a normalisation of its own.
    """

    size: tuple[int, int]
    columns: tuple[int, ...]
    normalises: bool


def _recognised(content: bytes) -> dict[str, Any] | None:
    """Family, preprocessing and input of a file; None for a network that no family reads."""
    found = _signature(content)
    if found is None:
        return None
    family = None
    match found.size, found.columns:
        case (_, columns) if sorted(columns) == [1] * 3 + [4] * 3 + [10] * 3:
            return {"family": "scrfd", "input": InputShape(stride=32)}
        case ((112, 112), (202,)) | ((96, 96), (3,)):
            family = "genderage"
        case ((192, 192), (212,)):
            family = "landmarks106"
        case ((112, 112), (_,)):
            family = "arcface"
    if family is None or family not in FAMILIES:
        return None
    raw = PreprocessOverride(mean=0.0, std=1.0) if found.normalises and family == "arcface" else PreprocessOverride()
    return {"family": family, "input": InputShape(size=found.size), "preprocess": raw}


def _signature(content: bytes) -> _Signature | None:
    """None for what is no network of one picture input (N, 3, h, w)."""
    import onnx  # takes long to import and is needed only where there are packs
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load_from_string(content).graph
    except DecodeError:
        return None
    constants = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    axes = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(axes) != 4 or axes[1] != 3:
        return None
    columns = tuple(out.type.tensor_type.shape.dim[-1].dim_value for out in graph.output)
    first = {node.op_type for node in graph.node[:_FIRST]}
    return _Signature((axes[3], axes[2]), columns, {"Sub", "Mul"} <= first)
