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
    "arcface_torch": {"family": "arcface"},
    "adaface": {"family": "arcface", "preprocess": {"colours": "bgr"}},
    "genderage_v1": {"family": "genderage"},
    "mask_detector": {"family": "mask"},
}


def is_one(fields: Fields) -> bool:
    """Whether an entry is written in that form: it names no `family`, but something that only that form has."""
    return "family" not in fields and bool(_KEYS & fields.keys())


def translated(name: str, fields: Fields, known: Fields) -> Fields | None:
    """Our fields for an entry of that form; None where no code reads such a network.

    `known` are the fields that a network of this name has already: what the other form cannot say (licence, colours)
    stays, what it says comes first.
    """
    read = _FUNCTIONS.get(str(fields.get("function")))
    if read is None and "family" not in known:
        return None
    ours: Fields = {"description": name, "licence": {"id": "unstated"}, **(read or {}), **known}
    md5 = fields.get("md5", fields.get("md5sum"))
    if md5:
        ours |= {"md5": md5, "sha256": None, "bytes": None, "canonical": None}
    if fields.get("link"):
        source = _source(str(fields["link"]), fields.get("dl_type"))
        others = [other for other in known.get("sources", []) if other != source]
        # Of other sources nobody says that they give these very bytes.
        ours["sources"] = [source, *([] if md5 and md5 != known.get("md5") else others)]
    if "licence" in fields:
        ours["licence"] = fields["licence"]
    if "shape" in fields and ours["family"] == "mask":
        ours["params"] = {"side": fields["shape"][1]}
    return ours


def _source(link: str, kind: Any) -> Fields:
    return {"gdrive": link} if kind == "google" else {"url": link}
