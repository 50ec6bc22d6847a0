"""What the README shows is what a user gets."""

import json
import re
import shlex
from typing import Any

import pytest

from tests.support import REPO, Client


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REPO / "README.md").read_text("utf-8"), re.DOTALL)


def _form(command: str) -> tuple[str, dict[str, str], str]:
    """File, fields and path of a `curl -F` line."""
    words = shlex.split(command)
    fields = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "-F")
    return fields.pop("files").lstrip("@"), fields, re.sub(r"^http://[^/]+", "", words[-1])


def _same(shown: Any, got: Any, where: str = "") -> None:
    """Equal but for times, and for scores in the third digit (another processor rounds elsewhere)."""
    if where.endswith("_ms"):
        return
    if isinstance(shown, dict):
        assert list(shown) == list(got), where
        for key in shown:
            _same(shown[key], got[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(got), where
        for i, (a, b) in enumerate(zip(shown, got, strict=True)):
            _same(a, b, f"{where}[{i}]")
    elif isinstance(shown, float):
        assert got == pytest.approx(shown, abs=2e-3), where
    elif isinstance(shown, int):
        assert abs(got - shown) <= 1, where
    else:
        assert got == shown, where


def test_the_curl_line_gives_the_answer_that_is_shown(real: Client) -> None:
    command = next(block for block in _blocks("") if block.startswith("curl"))
    picture, fields, path = _form(command)
    answer = real.post(path, files={"files": (REPO / picture).read_bytes()}, data=fields)
    assert answer.status_code == 200
    _same(json.loads(_blocks("json")[0]), answer.json())


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"), *(REPO / "misc").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
