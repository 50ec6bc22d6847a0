"""The collections of Milvus that a gallery's collection is made of, as data.

    persons    id · key · metadata · told     a person each, a row "" that tells of the collection, and a row for each
                                              life that was ended
    vectors    id · owner · person · created · cropped · about · vector     a face each
    pictures   id · owner · parts · text      pieces of the crops; made when the first crop comes

`key` tells one life of a person from the next: who is forgotten and enrolled again under the same id has another, and
a face belongs to the person whose key is its `owner`. A face whose owner is nobody's key is not there: it was written
by an enrolment that broke off, or is left of one who was forgotten. A negative key: this person is being forgotten. Key
0: nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from visage.search.base import Index, Precision

# Milvus wants a vector in every collection; where there is none to keep it is this one.
NO_VECTOR = (1.0, 0.0)
LONGEST_ID = 512
LONGEST_TEXT = 65_535
LONGEST_JSON = 65_536

Kind = Literal["VARCHAR", "INT64", "INT32", "BOOL", "DOUBLE", "JSON", "FLOAT_VECTOR"]


@dataclass(frozen=True, slots=True)
class Field:
    """`size`: bytes of a text, numbers of a vector."""

    name: str
    kind: Kind
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Indexed:
    """How the vectors are searched; `lossy`: the similarities that Milvus gives are not those of the vectors."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lossy: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A collection of Milvus. Its first field is its key, its last one the vector."""

    fields: tuple[Field, ...]
    indexed: Indexed


FLAT = Indexed("FLAT")
_NONE = Field("nothing", "FLOAT_VECTOR", len(NO_VECTOR))

PERSONS = Table(
    (
        Field("id", "VARCHAR", LONGEST_ID),
        Field("key", "INT64"),
        Field("metadata", "JSON"),
        Field("told", "JSON"),
        _NONE,
    ),
    FLAT,
)
CROPS = Table(
    (
        Field("id", "VARCHAR", LONGEST_ID + 8),
        Field("owner", "INT64"),
        Field("parts", "INT32"),
        Field("text", "VARCHAR", LONGEST_TEXT),
        _NONE,
    ),
    FLAT,
)


def vectors(dimension: int, precision: Precision, index: Index) -> Table:
    fields = (
        Field("id", "VARCHAR", LONGEST_ID),
        Field("owner", "INT64"),
        Field("person", "VARCHAR", LONGEST_ID),
        Field("created", "DOUBLE"),
        Field("cropped", "BOOL"),
        Field("about", "JSON"),
        Field("vector", "FLOAT_VECTOR", dimension),
    )
    return Table(fields, indexed(precision, index))


def indexed(precision: Precision, index: Index) -> Indexed:
    """Milvus' one exact index is FLAT over float32: `exact` is that, whatever precision is asked for. Of the graphs
    HNSW holds float32, and HNSW_SQ (Milvus 2.5 and later, and Milvus Lite) float16 or int8.
    """
    if index == "exact":
        return FLAT
    graph = {"M": 32, "efConstruction": 200}
    if precision == "fp32":
        return Indexed("HNSW", graph)
    return Indexed("HNSW_SQ", {**graph, "sq_type": {"fp16": "FP16", "int8": "SQ8"}[precision]}, lossy=True)
