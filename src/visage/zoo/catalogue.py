"""The catalogue: what each network is, where it comes from, under which licence. Data, validated when read."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from visage.backends.base import Preprocess
from visage.errors import UnknownModel
from visage.families import family
from visage.families.base import Task

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$", to_lower=True)]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{32}$", to_lower=True)]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
# A name is a folder's and a file's as well.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$", max_length=100)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Data):
    """Hashes stand here where this source's bytes are not those that the entry's own hashes tell."""

    sha256: Sha256 | None = None
    md5: Md5 | None = None


class PackageFile(_Source):
    """A file inside an installed Python package."""

    package: str
    file: str


class WebFile(_Source):
    """A file at an http or https address; several of them in a row are mirrors."""

    url: HttpUrl


class DriveFile(_Source):
    """A public file of Google Drive, by its id."""

    gdrive: Annotated[str, StringConstraints(pattern=r"^[\w-]{10,}$")]


class ZipMember(_Source):
    """A member of a zip archive at an http or https address."""

    zip: HttpUrl
    member: str


class LocalFile(_Source):
    """A file of this machine, or the `member` of a zip archive there; a relative path counts from the models folder."""

    path: str
    member: str | None = None


Place = PackageFile | WebFile | DriveFile | ZipMember | LocalFile

_KEYS = ("package", "url", "gdrive", "zip", "path")


def _kind(value: Any) -> str | None:
    """The key that tells a source's kind, so that a fault is told of that kind alone."""
    kinds = [key for key in _KEYS if (key in value if isinstance(value, dict) else hasattr(value, key))]
    return kinds[0] if len(kinds) == 1 else None


_Place = Annotated[
    Annotated[PackageFile, Tag("package")]
    | Annotated[WebFile, Tag("url")]
    | Annotated[DriveFile, Tag("gdrive")]
    | Annotated[ZipMember, Tag("zip")]
    | Annotated[LocalFile, Tag("path")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message=f"a source is an object with exactly one of the keys {', '.join(_KEYS)}",
    ),
]


class InputShape(_Data):
    """What the network takes: one `size` (width, height), or any multiple of `stride`."""

    size: tuple[int, int] | None = None
    stride: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one(self) -> "InputShape":
        if (self.size is None) == (self.stride is None):
            raise ValueError("either 'size' (width, height) or 'stride' is expected")
        return self


class PreprocessOverride(_Data):
    """What differs from the family's own preprocessing."""

    mean: float | None = None
    std: float | None = Field(default=None, gt=0)
    colours: Literal["rgb", "bgr"] | None = None


class Licence(_Data):
    """`id`: SPDX's in lower case, or a plain name where SPDX has none; `commercial`: what its text says of that use."""

    id: Annotated[str, StringConstraints(to_lower=True, min_length=1)]
    commercial: bool | None = None
    note: str = ""


class Canonical(_Data):
    """Known numbers of this network on the self-test picture, five at most, and how far off they may be.

    `sha256`: the weights they were taken from, where the catalogue knows no hash; other weights are then not held
    to them.
    """

    numbers: tuple[float, ...]
    tolerance: float = 0.01
    sha256: Sha256 | None = None


class Figure(_Data):
    """A published figure of accuracy or speed, and whose word it is."""

    what: str
    value: float
    unit: str = ""
    source: str


class Entry(_Data):
    """One model of the catalogue. A missing hash means unverified, which is said and is no error.

    `sources` are tried in order, and with none the file is put by hand at `onnx/<name>/<name>.onnx` of the models
    folder. `threshold`: the cosine from which on two faces are one person's, found on `threshold_data`. `rewrites`
    name functions of `zoo.graph`; None stands for those of the family.
    """

    name: Name
    description: str = ""
    family: str
    params: Mapping[str, Any] = Field(default_factory=dict)
    preprocess: PreprocessOverride = PreprocessOverride()
    input: InputShape | None = None
    batch: Literal["any", "one"] = "any"
    sources: tuple[_Place, ...] = ()
    rewrites: tuple[str, ...] | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    bytes: int | None = Field(default=None, gt=0)
    licence: Licence
    threshold: float | None = None
    threshold_data: str = ""
    figures: tuple[Figure, ...] = ()
    note: str = ""
    canonical: Canonical | None = None

    @property
    def task(self) -> Task:
        """What it does, as the family says."""
        return family(self.family).task

    def fed(self) -> Preprocess:
        """The family's preprocessing with this entry's differences."""
        base, other = family(self.family).preprocess, self.preprocess
        return Preprocess(
            base.mean if other.mean is None else other.mean,
            base.std if other.std is None else other.std,
            base.colours if other.colours is None else other.colours,
            base.layout,
        )

    @property
    def stride(self) -> int:
        """What the sides of its pictures must be multiples of, where it takes more than one size."""
        return (self.input.stride if self.input else None) or 32

    def graph_rewrites(self) -> tuple[str, ...]:
        """Names of the functions of `zoo.graph` that its file goes through."""
        return family(self.family).rewrites if self.rewrites is None else self.rewrites


# Packs that InsightFace publishes, by the names that its users know.
PUBLISHED_PACKS = ("buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2")

# The models of a folder of several, read when they are asked for.
Pack = Callable[[], Mapping[str, Entry]]


class Catalogue:
    """Entries by name, in the file's order, and the packs beside them."""

    def __init__(self, entries: Mapping[str, Entry], packs: Mapping[str, Pack] | None = None) -> None:
        self.entries = dict(entries)
        self.packs = dict(packs or {})

    def every(self) -> dict[str, Entry]:
        """The entries and the models of all packs."""
        found = dict(self.entries)
        for pack in self.packs.values():
            found |= pack()
        return found

    def __getitem__(self, name: str) -> Entry:
        pack, _, member = name.partition(".")
        found = self.entries.get(name) or (self.packs[pack]().get(name) if member and pack in self.packs else None)
        if found is None:
            raise UnknownModel(f"model {name!r} is not in the catalogue; known: {', '.join(self.entries)}")
        return found

    def find(self, name: str, task: Task, variable: str) -> Entry:
        """The entry `name`, which must do `task`, or the one of pack `name` that does; `variable` named it."""
        if name in self.packs and name not in self.entries:
            return self._of_pack(name, task, variable)
        try:
            entry = self[name]
        except UnknownModel as exc:
            known = ", ".join([e.name for e in self.entries.values() if e.task == task] + list(self.packs)) or "none"
            remedy = f"fetch that pack first: visage models pull {name}; " if name in PUBLISHED_PACKS else ""
            raise UnknownModel(
                f"{variable}={name!r} is not in the catalogue; {remedy}for {task} there are: {known}"
            ) from exc
        if entry.task != task:
            article = "an" if entry.task.startswith("a") else "a"
            raise UnknownModel(f"{variable}={name!r} is {article} {entry.task} model; {variable} names one for {task}")
        return entry

    def _of_pack(self, name: str, task: Task, variable: str) -> Entry:
        models = self.packs[name]()
        able = [entry for entry in models.values() if entry.task == task]
        if len(able) == 1:
            return able[0]
        said = f"has {len(able)} models for {task}" if able else f"has no model for {task}"
        choice = ", ".join(entry.name for entry in able or models.values()) or "nothing that can be read"
        raise UnknownModel(f"{variable}={name!r}: that pack {said}; it holds: {choice}")
