"""The catalogue's form in InsightFace-REST: models.json and models.override.json of its models folder.

Its keys: `function` (which class reads the network), `shape` (batch first), `link` with `dl_type` (a Google Drive id or
an address), `md5` or `md5sum`, `reshape`, `allow_batching`, `in_package`, `outputs`. What is not needed here is passed
over: axes and outputs are read off the file.
"""

from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]

_KEYS = frozenset({"function", "shape", "link", "dl_type", "md5sum", "reshape", "allow_batching", "in_package"})

_RAW = {"mean": 0.0, "std": 1.0}
_CENTRED = {"mean": 127.5, "std": 127.5}
_FUNCTIONS: Mapping[str, Fields] = {
    "retinaface_r50_v1": {"family": "retinaface"},
    "retinaface_mnet025_v1": {"family": "retinaface"},
    "retinaface_mnet025_v2": {"family": "retinaface", "params": {"landmark_std": 0.2}},
    "mnet_cov2": {"family": "retinaface", "params": {"landmark_std": 0.2}},
    "centerface": {"family": "centerface"},
    "scrfd": {"family": "scrfd"},
    "scrfd_v2": {"family": "scrfd"},
    "yolov5_face": {"family": "yolov5_face"},
    "arcface_mxnet": {"family": "arcface", "preprocess": _RAW},
    "arcface_torch": {"family": "arcface", "preprocess": _CENTRED},
    "adaface": {"family": "arcface", "preprocess": {**_CENTRED, "colours": "bgr"}},
    "genderage_v1": {"family": "genderage"},
    "mask_detector": {"family": "mask"},
}


def is_one(fields: Fields) -> bool:
    """Whether an entry is written in that form: it names no `family`, but something that only that form has."""
    return "family" not in fields and bool(_KEYS & fields.keys())


def translated(name: str, fields: Fields, known: Fields) -> Fields | None:
    """Our fields for an entry of that form; None where no code reads such a network.

    `known` are the fields that a network of this name has already: what the other form cannot say (licence, colours)
    stays, what it says comes first. Raises ValueError naming the entry and the field.
    """
    read = _FUNCTIONS.get(str(fields.get("function")))
    if read is None and "family" not in known:
        return None
    ours: Fields = {"description": name, "licence": {"id": "unstated"}, **_read_as(read, known)}
    md5 = fields.get("md5", fields.get("md5sum"))
    source = _source(str(fields["link"]), fields.get("dl_type")) if fields.get("link") else None
    before: list[Fields] = ours.get("sources", [])
    same = md5 == ours.get("md5") if md5 else source is None or source in before
    if not same:
        # Of what is known nobody says that it is told of these very bytes.
        ours |= {"md5": md5, "sha256": None, "bytes": None, "canonical": None}
    if source is not None:
        ours["sources"] = [source, *(other for other in before if same and other != source)]
    if "licence" in fields:
        ours["licence"] = fields["licence"]
    if "shape" in fields and ours["family"] == "mask":
        ours["params"] = {"side": _side(name, fields["shape"])}
    return ours


def _read_as(read: Fields | None, known: Fields) -> Fields:
    """What is known, read by the family and as the function says; of a network of another family only the licence."""
    if read is None:
        return dict(known)
    if known.get("family") != read["family"]:
        return {key: known[key] for key in ("licence",) if key in known} | read
    both = {key: {**known.get(key, {}), **read.get(key, {})} for key in ("params", "preprocess")}
    return {**known, **{key: value for key, value in both.items() if value}}


def _side(name: str, shape: Any) -> Any:
    if not isinstance(shape, list) or len(shape) != 4:
        raise ValueError(f"model {name!r}, field 'shape': four numbers are expected, batch first, not {shape!r}")
    return shape[1]


def _source(link: str, kind: Any) -> Fields:
    return {"gdrive": link} if kind == "google" else {"url": link}
