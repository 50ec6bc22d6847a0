"""The import of a folder: whose pictures they are, what is asked, and that nobody's faces go to another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO
from tests.ui.conftest import Page, Served
from tests.ui.steps import has, make_collection, text
from visage.api.ui.assets import languages

HOPPER = (REPO / "misc" / "images" / "grace_hopper.jpg").read_bytes()
ASTRONAUT = (REPO / "misc" / "images" / "astronaut.jpg").read_bytes()

PLANNED = """({ planned }, [paths, by, answers, there]) => {
    const known = there && { names: new Map(there), ids: new Map() };
    if (known) for (const [id, name] of there) known.ids.set(name, [...(known.ids.get(name) ?? []), id]);
    const { persons, doubts } = planned(paths.map((path) => ({ path })), by, new Map(answers), known);
    return {
        persons: persons.map(({ name, id, status, files, doubts }) => ({ name, id, status, files: files.length, doubts: doubts.map(({ kind }) => kind) })),
        doubts: doubts.map(({ kind, choice }) => [kind, choice]),
    };
}"""


@pytest.fixture(scope="module")
def scripts(browser: Any, served: Served) -> Any:
    """A page whose scripts are asked directly."""
    context = browser.new_context()
    page = Page(context.new_page(), served.url)
    page.go()
    yield page
    context.close()


def plan(
    page: Page,
    paths: Sequence[str],
    by: str = "folder",
    answers: dict[str, str] | None = None,
    there: dict[str, str] | None = None,
) -> Any:
    """`there`: names by id. Paths lie in the folder that was chosen."""
    known = None if there is None else list(there.items())
    return page.imported(
        "plan.js", PLANNED, [[f"chosen/{path}" for path in paths], by, list((answers or {}).items()), known]
    )


def people(planned: Any) -> dict[str, int]:
    """Pictures by name, and by id where a name is there twice."""
    names = [person["name"] for person in planned["persons"]]
    return {
        person["name"] if names.count(person["name"]) == 1 else f"{person['name']} ({person['id'][:4]})": person[
            "files"
        ]
        for person in planned["persons"]
    }


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["anna_01.jpg", "anna (2).jpg", "anna-3.jpg", "bob.png"], {"anna": 3, "bob": 1}),
        (["anna.jpg", "anna 2.jpg", "bob 1.jpg", "bob 2.jpg"], {"anna": 2, "bob": 2}),
        (["George_W_Bush_0001.jpg", "George_W_Bush_0002.jpg", "Ana_1.jpg"], {"George W Bush": 2, "Ana 1": 1}),
        (["EMP1001.jpg", "EMP1001 (1).jpg", "EMP1002.jpg"], {"EMP1001": 2, "EMP1002": 1}),
        (["王伟_1.jpg", "王伟_2.jpg"], {"王伟": 2}),
        (["bob.jpg", "bob.png"], {"bob": 2}),
    ],
)
def test_a_number_beyond_doubt_counts_pictures(scripts: Page, files: list[str], wanted: dict[str, int]) -> None:
    found = plan(scripts, files, "file")
    assert people(found) == wanted
    assert found["doubts"] == []


@pytest.mark.parametrize(
    "files",
    [
        ["EMP1001.jpg", "EMP1002.jpg", "EMP1003.jpg"],
        ["k7.jpg", "k8.jpg"],
        ["4711.jpg", "4712.jpg"],
    ],
)
def test_a_number_that_touches_the_name_is_part_of_it(scripts: Page, files: list[str]) -> None:
    found = plan(scripts, files, "file")
    assert people(found) == {file.removesuffix(".jpg"): 1 for file in files}
    assert found["doubts"] == []
    assert len({person["id"] for person in found["persons"]}) == len(files)


@pytest.mark.parametrize(
    ("files", "one"),
    [
        (["EMP_1001.jpg", "EMP_1002.jpg"], "EMP"),
        (["EMP_1.jpg", "EMP_2.jpg", "EMP_3.jpg"], "EMP"),
        (["badge-17.jpg", "badge-18.jpg"], "badge"),
        (["employee 1.jpg", "employee 2.jpg"], "employee"),
        (["people (1).jpg", "people (2).jpg", "people (3).jpg"], "people"),
        (["IMG_0001.jpg", "IMG_0002.jpg"], "IMG"),
        (["anna_2019.jpg", "anna_2020.jpg"], "anna"),
        (["2024-01-01.jpg", "2024-01-02.jpg"], "2024-01"),
        (["сотрудник_1.jpg", "сотрудник_2.jpg"], "сотрудник"),
        (["照片_1.jpg", "照片_2.jpg"], "照片"),
    ],
)
def test_a_number_that_may_be_either_is_asked_about(scripts: Page, files: list[str], one: str) -> None:
    found = plan(scripts, files, "file")
    assert [person["files"] for person in found["persons"]] == [1] * len(files)
    assert found["doubts"] == [["count", "different"]]
    assert all(person["doubts"] == ["count"] for person in found["persons"])
    answered = plan(scripts, files, "file", {"count": "one"})
    assert people(answered) == {one: len(files)}
    assert answered["doubts"] == [["count", "one"]], "the answer can be taken back"


def test_the_same_name_in_different_folders_is_different_persons_or_asked_about(scripts: Page) -> None:
    paths = ["sales/john/1.jpg", "sales/john/2.jpg", "it/john/1.jpg", "it/eve/1.jpg"]
    found = plan(scripts, paths)
    assert people(found) == {"john (it_j)": 1, "john (sale)": 2, "eve": 1}
    assert found["doubts"] == [["folder", "different"]]
    assert people(plan(scripts, paths, answers={"folder": "one"})) == {"john": 3, "eve": 1}
    assert people(plan(scripts, paths, "top")) == {"it": 2, "sales": 2}
    in_files = plan(scripts, ["2019/ada.jpg", "2020/ada.jpg"], "file")
    assert len(in_files["persons"]) == 2 and in_files["doubts"] == [["folder", "different"]]
    beside = plan(scripts, ["ada/1.jpg", "ada.jpg", "bob/1.jpg"])
    assert len(beside["persons"]) == 3 and beside["doubts"] == [["folder", "different"]]


@pytest.mark.parametrize(
    "names",
    [
        ("José", "Jose"),
        ("Müller", "Muller"),
        ("ANN LEE", "ann lee"),
        ("Ann_Lee", "Ann Lee"),
        ("Ann-Lee", "Ann Lee"),
        ("Søren", "Soren"),
        ("Łukasz", "Lukasz"),
        ("Strauß", "Strauss"),
        ("أحمد", "احمد"),
        ("Артём", "Артем"),
        ("ＡＮＮ", "Ann"),
    ],
)
def test_names_that_differ_in_spelling_share_nothing_until_it_is_said(scripts: Page, names: tuple[str, str]) -> None:
    paths = [f"{name}/1.jpg" for name in names]
    found = plan(scripts, paths)
    assert len(found["persons"]) == 2 and len({person["id"] for person in found["persons"]}) == 2
    assert found["doubts"] == [["spelling", "different"]]
    (one,) = plan(scripts, paths, answers={"spelling": "one"})["persons"]
    assert one["files"] == 2


def test_names_of_every_script_have_ids_of_their_own_that_the_service_takes(scripts: Page, served: Served) -> None:
    names = [
        "José",
        "Jose",
        "JOSE",
        "jose",
        "李明",
        "王伟",
        "أحمد",
        "محمد",
        "Иван",
        "Йван",
        "김철수",
        "が",
        "か",
        "नेहा",
    ]
    names += ["EMP1001", "a_b", "a b", "a-b", "..", "-x", "Ann.", "x" * 200, "x" * 201, "😀", "O'Neil", "O Neil", "a:b"]
    ids = scripts.imported("people.js", "({ idOf }, names) => names.map(idOf)", names)
    assert len(set(ids)) == len(names)
    assert dict(zip(names, ids, strict=True))["EMP1001"] == "EMP1001"
    served.api("POST", "/collections", {"name": "ids"})
    for name, one in zip(names, ids, strict=True):
        assert served.api("POST", "/collections/ids/persons", {"id": one, "name": name})["person"]["id"] == one


def test_who_is_in_the_collection_is_found_again_and_nobody_else_is_taken_for_them(scripts: Page) -> None:
    paths = ["Jose/1.jpg", "Grace Hopper/1.jpg", "Eve/1.jpg", "Li/1.jpg", "new/1.jpg"]
    there = {"Jose": "José", "grace_hopper": "Grace Hopper", "77": "Eve", "Li": "Li"}
    found = {person["name"]: person for person in plan(scripts, paths, there=there)["persons"]}
    assert (found["Li"]["id"], found["Li"]["status"], found["Li"]["doubts"]) == ("Li", "there", [])
    assert found["new"]["status"] == "new"
    assert found["Grace Hopper"]["id"] == "grace_hopper", "as this page called her before it told capitals apart"
    assert found["Jose"]["doubts"] == ["taken"] and found["Jose"]["status"] == "new"
    assert found["Jose"]["id"] != "Jose"
    assert (found["Eve"]["doubts"], found["Eve"]["status"], found["Eve"]["id"]) == (["named"], "new", "Eve")
    answered = plan(scripts, paths, answers={"taken": "one", "named": "one"}, there=there)
    found = {person["name"]: person for person in answered["persons"]}
    assert (found["Jose"]["id"], found["Jose"]["status"]) == ("Jose", "there")
    assert (found["Eve"]["id"], found["Eve"]["status"]) == ("77", "there")


@pytest.mark.parametrize("answers", [{}, {"folder": "one", "spelling": "one", "count": "one"}])
def test_an_import_that_is_repeated_makes_nobody_twice(scripts: Page, answers: dict[str, str]) -> None:
    paths = ["sales/john/1.jpg", "it/john/1.jpg", "it/José/1.jpg", "it/Jose/1.jpg", "it/李明/1.jpg", "ann lee.jpg"]
    first = plan(scripts, paths, answers=answers, there={"Jose": "Somebody", "x": "Else"})
    held = {person["id"]: person["name"] for person in first["persons"]} | {"Jose": "Somebody", "x": "Else"}
    again = plan(scripts, paths, answers=answers, there=held)
    assert [(one["id"], one["status"]) for one in again["persons"]] == [
        (one["id"], "there") for one in first["persons"]
    ]


def folder(tmp_path: Path, files: dict[str, bytes]) -> str:
    for path, content in files.items():
        place = tmp_path / "chosen" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return str(tmp_path / "chosen")


def choose_folder(page: Page, path: str) -> None:
    page.go("collections")
    page.go("collections/staff/import")
    page.page.locator(".drop input[type=file]").set_input_files(path)
    page.page.locator(".plan tbody tr").first.wait_for()


def finish(page: Page, persons: int) -> None:
    page.page.get_by_role("button", name=f"Import {persons} person").click()
    text(page, "h2", "Import finished")


def test_nothing_is_sent_before_the_plan_was_seen_and_the_answers_count(
    open_page: Any, served: Served, tmp_path: Path
) -> None:
    page: Page = open_page(1000, 900)
    make_collection(page)
    served.api("POST", "/collections/staff/persons", {"id": "Jose", "name": "José"})
    path = folder(
        tmp_path,
        {
            "sales/john/1.jpg": HOPPER,
            "it/john/1.jpg": ASTRONAUT,
            "it/Müller/1.jpg": HOPPER,
            "it/Muller/1.jpg": ASTRONAUT,
            "it/Jose/1.jpg": HOPPER,
        },
    )
    served.refusals.calls.clear()
    choose_folder(page, path)
    text(page, ".plan", "This id is taken by José")
    has(page, ".plan tbody tr", 5)
    assert {method for method, _ in served.refusals.calls} == {"GET"}
    folders = page.page.get_by_label("Same name in another folder")
    spelling = page.page.get_by_label("Muller: Nearly the same name as another")
    assert folders.first.input_value() == spelling.input_value() == "different"
    spelling.select_option("one")
    has(page, ".plan tbody tr", 4)
    assert page.page.evaluate("document.activeElement.value") == "one", "the focus stays where the answer was given"
    finish(page, 4)
    made = {one["id"]: (one["name"], one["faces"]) for one in served.people()}
    assert made.pop("Jose") == ("José", 0), "nobody's faces go to another"
    assert sorted(made.values()) == [("Jose", 1), ("Muller", 2), ("john", 1), ("john", 1)]

    choose_folder(page, path)
    text(page, "[role=status]", "1 new, 4 already there")
    assert page.page.get_by_label("This id is taken by José").count() == 0, "it was answered"


def test_all_doubts_of_a_kind_are_answered_at_once(open_page: Any, served: Served, tmp_path: Path) -> None:
    page: Page = open_page()
    make_collection(page)
    files = {f"{folder}/{name}/1.jpg": HOPPER for folder in ("sales", "it") for name in ("ada", "bob", "eve")}
    choose_folder(page, folder(tmp_path, files))
    group = page.page.get_by_role("group", name="3 names in several folders")
    group.get_by_text("One person", exact=True).click()
    has(page, ".plan tbody tr", 3)
    page.page.get_by_label("ada: Same name in another folder").select_option("different")
    has(page, ".plan tbody tr", 4)
    assert group.locator("input:checked").count() == 0, "some so, some otherwise"
    finish(page, 4)
    assert sorted((one["name"], one["faces"]) for one in served.people()) == [
        ("ada", 1),
        ("ada", 1),
        ("bob", 2),
        ("eve", 2),
    ]


def test_somebody_who_came_meanwhile_is_not_given_anothers_faces(
    open_page: Any, served: Served, tmp_path: Path
) -> None:
    page: Page = open_page()
    make_collection(page)
    choose_folder(page, folder(tmp_path, {"ada/1.jpg": HOPPER, "bob/1.jpg": ASTRONAUT}))
    text(page, "[role=status]", "2 new")
    served.api("POST", "/collections/staff/persons", {"id": "ada", "name": "Another Ada"})
    served.api("POST", "/collections/staff/persons", {"id": "bob", "name": "bob"})
    finish(page, 2)
    text(page, "tr", "The id ada belongs to Another Ada by now")
    assert {one["id"]: one["faces"] for one in served.people()} == {"ada": 0, "bob": 1}


def test_a_plan_waits_for_the_collection_and_says_when_it_cannot_be_read(
    open_page: Any, served: Served, tmp_path: Path
) -> None:
    page: Page = open_page()
    make_collection(page)
    page.go("collections/staff/import")
    served.refusals.held = {"/v1/collections/staff/persons"}
    page.page.locator(".drop input[type=file]").set_input_files(folder(tmp_path, {"ada/1.jpg": HOPPER}))
    page.page.locator(".plan tbody tr").first.wait_for()
    go = page.page.get_by_role("button", name="Import 1 person")
    assert go.is_disabled()
    served.refusals.held.clear()
    text(page, "[role=status]", "1 new")
    assert go.is_enabled()


@pytest.mark.parametrize("width", [1000, 360])
def test_the_plan_has_room_and_is_reached_by_keyboard(
    open_page: Any, served: Served, tmp_path: Path, width: int
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    ).Axe()
    page: Page = open_page(width, 900)
    make_collection(page)
    served.api("POST", "/collections/staff/persons", {"id": "Jose", "name": "José"})
    served.api("POST", "/collections/staff/persons", {"id": "4711", "name": "Grace Hopper"})
    names = [
        "sales/john/1.jpg",
        "it/john/1.jpg",
        "it/Müller/1.jpg",
        "it/Muller/1.jpg",
        "it/Jose/1.jpg",
        "it/李明/1.jpg",
    ]
    names += ["it/Grace Hopper/1.jpg", "it/محمد أحمد/1.jpg", "it/Wolfeschlegelsteinhausenbergerdorff/a_long_name.jpg"]
    choose_folder(page, folder(tmp_path, dict.fromkeys([*names, "EMP_1001.jpg", "EMP_1002.jpg"], HOPPER)))
    text(page, "[role=status]", "already there")
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.page.locator(".toast").first.wait_for(state="detached")
    page.shot(f"plan-{width}")
    found = axe.run(
        page.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found.response["violations"]] == []
    page.page.locator(".questions input").first.focus()
    seen = set()
    for _ in range(40):
        page.page.keyboard.press("Tab")
        seen.add(page.page.evaluate("document.activeElement.dataset.doubt ?? document.activeElement.textContent"))
    controls = page.page.locator(".plan select").count()
    assert controls == 8
    assert {"Import 11 persons", "name:john", "name:muller", "count:EMP"} <= seen


@pytest.mark.parametrize(
    "code", ["ru", *(pytest.param(code, marks=pytest.mark.slow) for code in languages() if code != "ru")]
)
def test_the_plan_has_room_in_every_language(open_page: Any, served: Served, tmp_path: Path, code: str) -> None:
    page: Page = open_page(360, 740, locale=code)
    served.api("POST", "/collections", {"name": "staff"})
    for id_, name in {"Jose": "José", "4711": "Ada"}.items():
        served.api("POST", "/collections/staff/persons", {"id": id_, "name": name})
    names = ["a/john/1.jpg", "b/john/1.jpg", "a/Müller/1.jpg", "a/Muller/1.jpg", "a/Jose/1.jpg", "a/Ada/1.jpg"]
    choose_folder(page, folder(tmp_path, dict.fromkeys([*names, "EMP_1.jpg", "EMP_2.jpg"], b"")))
    has(page, ".questions .segmented", 5)
    for width in (1000, 360):
        page.page.set_viewport_size({"width": width, "height": 740})
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wide = "[...document.querySelectorAll('.questions .segments, .plan-room')].filter((e) => e.scrollWidth > e.clientWidth + 1).length"
        assert page.page.evaluate(wide) == 0, f"at {width} px"
        page.shot(f"{code}-plan-{width}")
    assert (
        page.page.evaluate(
            "[...document.querySelectorAll('main *')].some((e) => /\\b(?:plan|doubt|import)\\.\\w/.test(e.textContent))"
        )
        is False
    )
