"""Swagger's page in a real browser: what it fills in is what the document's examples say, and runs as it stands."""

from typing import Any

import pytest

from tests.ui.conftest import Served
from tests.ui.test_page import HOPPER

# One of each kind of thing that it fills in: JSON, lines of JSON, a form with a file, names in the path, a query.
C = "/v1/collections/{collection}"
KINDS = [
    ("POST", "/extract"),
    ("POST", "/multipart/extract"),
    ("POST", "/multipart/draw_detections"),
    ("POST", "/v1/compare"),
    ("POST", "/v1/collections"),
    ("POST", f"{C}/persons"),
    ("POST", f"{C}/bulk"),
    ("POST", f"{C}/search"),
    ("GET", f"{C}/persons"),
    ("GET", f"{C}/persons/{{person}}/faces/{{face}}"),
    ("DELETE", C),
]


def tried(page: Any, method: str, path: str) -> int:
    """The status that comes of "Try it out" and "Execute" with nothing changed but a file chosen."""
    block = page.locator(".opblock").filter(
        has=page.locator(f'.opblock-summary-path[data-path="{path}"]'),
        has_text=method,
    )
    block = block.and_(page.locator(f".opblock-{method.lower()}"))
    block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    if (add := block.get_by_role("button", name="Add string item")).count() and not block.locator(
        "[type=file]"
    ).count():
        add.click()
    for chooser in block.locator("[type=file]").all():
        chooser.set_input_files(str(HOPPER))
    with page.expect_response(lambda response: "/docs" not in response.url) as found:
        block.locator(".execute").click()
    block.locator(".live-responses-table").wait_for()
    block.locator(".opblock-summary-control").click()
    return int(found.value.status)


def test_what_swagger_fills_in_runs_as_it_stands(browser: Any, served: Served) -> None:
    served.anew()
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(60_000)
    try:
        page = context.new_page()
        page.goto(f"{served.url}/docs")
        page.locator(".opblock").first.wait_for()
        statuses = {f"{method} {path}": tried(page, method, path) for method, path in KINDS}
    finally:
        context.close()
    assert {name: status for name, status in statuses.items() if status >= 300} == {}
    assert served.api("GET", "/collections")["items"] == []


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_of_the_document_ask_no_other_host(browser: Any, served: Served, page: str) -> None:
    outside: list[str] = []
    context = browser.new_context()
    try:
        opened = context.new_page()
        opened.on(
            "request",
            lambda one: None if one.url.startswith((served.url, "data:", "blob:")) else outside.append(one.url),
        )
        opened.goto(f"{served.url}/{page}")
        opened.locator("#operation\\/extract, .opblock, [role=menuitem]").first.wait_for()
    finally:
        context.close()
    assert outside == []
