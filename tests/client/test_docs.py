"""docs/client.md is run as it stands: against the service of a few lines, and against the real one."""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

import visage_client
from tests.client.fake import Fake
from tests.support import REPO, served, settings_of
from visage.api.app import create_app
from visage_client import AsyncClient, Client
from visage_client.binding import Method

DOCUMENT = (REPO / "docs" / "client.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
HAS_V1 = "/v1/detect" in create_app(settings_of()).openapi()["paths"]


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (REPO / "misc" / "images").glob("*.jpg"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, client: Callable[..., Any], aclient: Callable[..., Any]) -> dict[str, Any]:
    """What the examples leave behind."""
    monkeypatch.setattr(visage_client, "Client", client)
    monkeypatch.setattr(visage_client, "AsyncClient", aclient)
    names: dict[str, Any] = {"__name__": "docs"}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"docs/client.md, example {number}", "exec"), names)
    names["visage"].close()
    return names


def test_every_call_has_an_example() -> None:
    text = "\n".join(EXAMPLES)
    calls = [name for name, value in vars(Client).items() if isinstance(value, Method)]
    assert [name for name in calls if f"visage.{name}(" not in text] == []


def test_every_error_is_told() -> None:
    errors = {name for name, kind in vars(visage_client.errors).items() if isinstance(kind, type)} - {"Any", "Mapping"}
    assert [name for name in errors - {"Refused"} if f"`{name}`" not in DOCUMENT] == []


def test_the_examples_run(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    left = run(
        monkeypatch,
        partial(Client, transport=httpx.MockTransport(fake)),
        partial(AsyncClient, transport=httpx.MockTransport(fake.aside)),
    )
    assert left["report"].persons == 100
    assert not fake.collections


@pytest.fixture
def url(tmp_path: Path, models_dir: Path) -> Iterator[str]:
    environ = {"MODELS_DIR": str(models_dir), "DATA_DIR": str(tmp_path / "data"), "REQUEST_TIMEOUT": "300"}
    with served(tmp_path, **environ) as server:
        yield server.url


@pytest.mark.skipif(not HAS_V1, reason="this tree's service has no /v1 yet")
def test_the_examples_run_against_the_real_service(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = run(monkeypatch, lambda _: Client(url, timeout=300), lambda _: AsyncClient(url, timeout=300))
    out = capsys.readouterr().out
    assert left["report"].persons == 100 and not left["report"].failures
    assert re.search(r"^True 0\.[3-9]", out, re.MULTILINE)  # one person, in two pictures
    assert "known [('Grace Brewster Hopper', " in out
    assert len(left["vector"]) == 128
