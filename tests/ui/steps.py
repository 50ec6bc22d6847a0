"""What a user does on the page, and waits for."""

from pathlib import Path

from tests.ui.conftest import Page


def choose(page: Page, *files: Path, zone: str = ".drop") -> None:
    page.page.locator(f"{zone} input[type=file]").first.set_input_files([str(file) for file in files])


def has(page: Page, selector: str, count: int) -> None:
    page.page.wait_for_function("([s, n]) => document.querySelectorAll(s).length === n", arg=[selector, count])


def text(page: Page, selector: str, wanted: str) -> None:
    page.page.locator(selector, has_text=wanted).first.wait_for()


def segment(page: Page, name: str) -> None:
    page.page.locator(".segments").get_by_text(name, exact=True).click()


def make_collection(page: Page, name: str = "staff") -> None:
    page.go("collections")
    page.page.get_by_role("button", name="New collection").first.click()
    page.page.get_by_label("Name").fill(name)
    page.page.get_by_label("Description").fill("Everyone with a badge")
    page.page.get_by_role("button", name="Create").click()
    text(page, "h1", name)


def enrol(page: Page, name: str, *files: Path) -> None:
    choose(page, *files)
    has(page, ".tray li", len(files))
    page.page.get_by_label("Name").fill(name)
    page.page.get_by_role("button", name="Enrol").click()
    page.page.locator(".outcome").first.wait_for()
