"""Whose vectors are given: a recogniser's name and the hash of its weights, as answers tell it."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from visage.api.v1.fields import Strict
from visage.zoo.hashes import named

_MOST_TEXT = 2000  # characters
_HASH = r"[0-9a-fA-F]{12,64}"
_SHORT = re.compile(rf"(.{{1,{_MOST_TEXT}}})@({_HASH})", re.DOTALL)


class GivenModel(Strict):
    """An object as exports and collections have it, or the text of `models.rec` and X-Visage-Models:
    sface@fb143eea0783.
    """

    unread: ClassVar[frozenset[str]] = frozenset({"dimension"})

    name: Annotated[str, Field(max_length=_MOST_TEXT)]
    sha256: Annotated[str, Field(pattern=f"^{_HASH}$")] = Field(description="At least its first 12 digits")
    preprocess: Annotated[str, Field(max_length=_MOST_TEXT)] | None = Field(None, description="How pixels are fed")

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = _SHORT.fullmatch(value)
        if found is None:
            raise PydanticCustomError("model_text", "a recogniser as answers tell it: sface@fb143eea0783, or an object")
        return {"name": found[1], "sha256": found[2]}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        whole = handler.resolve_ref_schema(handler(core))
        told = dict(whole)
        whole.clear()
        whole["anyOf"] = [told, {"type": "string", "pattern": f"^.+@{_HASH}$"}]
        return whole

    def described(self) -> str:
        """As answers tell it: sface@fb143eea0783."""
        return named(self.name, self.sha256.lower())

    def agrees(self, sha256: str, preprocess: str | None) -> bool:
        """Whether it may be the recogniser of these weights, fed like this, as far as either is said."""
        digits = min(len(self.sha256), len(sha256))
        fed = None in (self.preprocess, preprocess) or self.preprocess == preprocess
        return fed and self.sha256[:digits].lower() == sha256[:digits].lower()
