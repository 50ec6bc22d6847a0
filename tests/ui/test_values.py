"""What is typed as a value is kept as it was typed, is told, and is found again."""

from typing import Any

import pytest

from tests.support import REPO
from tests.ui.conftest import Page, Served
from tests.ui.steps import choose, has, make_collection, text

HOPPER = REPO / "misc" / "images" / "grace_hopper.jpg"

TEXTS = [
    *(
        "01067",
        "007",
        "+4712345678",
        "1e5",
        "1E5",
        "5e-7",
        "0x10",
        "0b1",
        "1_000",
        "1,5",
        "1.50",
        "1.",
        ".5",
        "-0",
        "-",
    ),
    *("12345678901234567890", "9007199254740993", "123456789012345680000", "0.1234567890123456789", "Infinity", "NaN"),
    *("True", "null", "undefined", "１０６７", "١٠٦٧", "Oslo", "it's", '5"', "[", "{"),
]
NUMBERS = {"0": 0, "18": 18, "-3": -3, "59.91": 59.91, "-0.5": -0.5, "9007199254740991": 9007199254740991, "1067": 1067}


@pytest.fixture
def page(open_page: Any) -> Page:
    opened: Page = open_page()
    opened.go()
    return opened


def test_text_stays_text_unless_it_is_beyond_doubt_a_number(page: Page) -> None:
    read = "({ valueOf }, given) => given.map(valueOf)"
    assert page.imported("values.js", read, TEXTS) == TEXTS
    assert page.imported("values.js", read, list(NUMBERS)) == list(NUMBERS.values())
    assert page.imported("values.js", read, ["true", "false"]) == [True, False]
    quoted = [f'"{one}"' for one in (*TEXTS, *NUMBERS, "true")] + ["'18'", '"a "b" c"']
    assert page.imported("values.js", read, quoted) == [*TEXTS, *NUMBERS, "true", "18", 'a "b" c']


def test_what_is_shown_is_read_as_the_same_value(page: Page) -> None:
    values = [*TEXTS, *NUMBERS, *NUMBERS.values(), True, False, "true", '"x"', "'", '"', "", " a", "[1]", '{"a": 1}']
    there_and_back = "({ written, valueOf }, given) => given.map((one) => valueOf(written(one)))"
    assert page.imported("values.js", there_and_back, values) == values


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ("zip = 01067", {"zip": "01067"}),
        ("age = 18", {"age": 18}),
        ('age = "18"', {"age": "18"}),
        ("code != 1e5, n < 12345678901234567890", {"code": {"ne": "1e5"}, "n": {"lt": "12345678901234567890"}}),
        ('city = "Oslo, Norway" and age >= 18', {"city": "Oslo, Norway", "age": {"gte": 18}}),
        ("team = 'sales and support', x = true", {"team": "sales and support", "x": True}),
        ("age >= 1, age = 3", {"age": {"gte": 1, "eq": 3}}),
        ("город = Москва", {"город": "Москва"}),
        ('{"zip": "01067"}', {"zip": "01067"}),
    ],
)
def test_a_filter_asks_for_what_was_typed(page: Page, typed: str, where: dict[str, Any]) -> None:
    assert page.imported("filter.js", "({ parse }, given) => parse(given)", typed) == {"where": where}


def test_metadata_is_kept_as_typed_and_its_kind_is_told(open_page: Any, served: Served) -> None:
    page: Page = open_page(360, 740)
    make_collection(page)
    held = {
        "zip": "01067",
        "age": 18,
        "note": "two\nlines",
        "none": None,
        "tags": ["a", 1],
        "code": "1e5",
        "yes": "true",
    }
    served.api("POST", "/collections/staff/persons", {"id": "ada", "name": "Ada", "metadata": held})
    page.go("collections/staff/persons/ada")
    page.page.get_by_role("button", name="Edit").click()
    kinds = page.page.locator(".metadata .kind").all_inner_texts()
    assert kinds == ["text", "number", "text", "JSON", "JSON", "text", "text"]
    page.shot("metadata-360", full=False)
    page.page.get_by_role("button", name="Add a field").click()
    page.page.get_by_role("textbox", name="Key").last.fill("serial")
    value = page.page.get_by_role("textbox", name="Value").last
    value.fill("12345678901234567890")
    assert page.page.locator(".metadata .kind").last.inner_text() == "text"
    page.page.get_by_role("button", name="Save").click()
    text(page, ".pill", "serial: 12345678901234567890")
    assert served.people()[0]["metadata"] == {**held, "serial": "12345678901234567890"}

    page.page.get_by_role("button", name="Edit").click()
    value = page.page.get_by_role("textbox", name="Value").nth(1)
    value.fill("[12345678901234567890]")
    page.page.get_by_role("button", name="Save").click()
    text(page, "[role=alert]", "cannot be kept exactly")


def test_a_filter_that_finds_nobody_because_of_the_kind_is_helped(open_page: Any, served: Served) -> None:
    page: Page = open_page()
    make_collection(page)
    vector = [1.0] + [0.0] * 127
    for id_, metadata in {"old": {"zip": 1067}, "ada": {"zip": "99999", "age": "18", "site": "Oslo, N"}}.items():
        served.api("POST", "/collections/staff/persons", {"id": id_, "metadata": metadata, "vectors": [vector]})
    page.go("collections/staff")
    has(page, ".person", 2)
    query = page.page.get_by_label("Find persons")
    query.fill("zip = 01067")
    text(page, ".asked", "zip: text")
    text(page, ".empty h2", "Nobody fits")
    text(page, ".notice", "somebody fits zip = 1067")
    page.page.get_by_role("button", name="Ask for that").click()
    has(page, ".person", 1)
    assert query.input_value() == "zip = 1067"
    text(page, ".asked", "zip: number")
    query.fill('site = "Oslo, N", age = 18')
    text(page, ".notice", 'somebody fits site = "Oslo, N", age = "18"')
    page.page.get_by_role("button", name="Ask for that").click()
    has(page, ".person", 1)
    query.fill("zip = 12")
    text(page, ".empty h2", "Nobody fits")
    page.page.wait_for_load_state("networkidle")
    assert page.page.locator(".notice").count() == 0


def test_a_search_whose_filter_is_of_another_kind_is_helped(open_page: Any, served: Served) -> None:
    page: Page = open_page()
    make_collection(page)
    vector = [1.0] + [0.0] * 127
    served.api("POST", "/collections/staff/persons", {"id": "a", "metadata": {"floor": "2"}, "vectors": [vector]})
    page.go("collections/staff/search")
    page.page.get_by_label("Only persons with").fill("floor = 2")
    text(page, ".asked", "floor: number")
    choose(page, HOPPER)
    text(page, ".notice", 'somebody fits floor = "2"')
    page.page.get_by_role("button", name="Ask for that").click()
    has(page, ".match", 1)
    text(page, ".asked", "floor: text")
