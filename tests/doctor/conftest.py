"""A models folder with networks of every kind, and what the doctor says of settings over it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import models_folder, settings_of
from visage.doctor import Finding, findings

NC = {"family": "scrfd", "licence": {"id": "insightface-nc"}, "sources": [{"url": "https://example.org/a.onnx"}]}
MIT = {"family": "arcface", "licence": {"id": "MIT"}}
LARGE = {**MIT, "sources": [{"url": "https://example.org/large.onnx"}], "bytes": 2**50, "sha256": "0" * 64}

Found = Callable[..., dict[str, list[Finding]]]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return models_folder(tmp_path / "models", {"theirs": NC, "mine": MIT, "large": LARGE}, {})


@pytest.fixture
def found(models: Path) -> Found:
    """By what they are about."""

    def of(**environ: str) -> dict[str, list[Finding]]:
        by: dict[str, list[Finding]] = {}
        for one in findings(settings_of(**{"MODELS_DIR": str(models), "PORT": "0", **environ})):
            by.setdefault(one.about, []).append(one)
        return by

    return of
