"""Each flow of the page clicked through in a real browser."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO, wait_ready
from tests.ui.conftest import Page, Served
from tests.ui.steps import choose, enrol, has, make_collection, segment, text
from visage.api.ui.assets import languages

PICTURES = REPO / "misc" / "images"
HOPPER = PICTURES / "grace_hopper.jpg"
ASTRONAUT = PICTURES / "astronaut.jpg"
GROUP = PICTURES / "group.jpg"


def test_try_it(open_page: Any) -> None:
    page: Page = open_page()
    page.go()
    page.shot("try-empty")
    choose(page, GROUP, HOPPER)
    has(page, ".strip-item.done", 2)
    text(page, "h2", "1 face found")
    page.shot("try-one")
    page.page.get_by_role("button", name="group.jpg", exact=True).click()
    text(page, "h2", "24 faces found")
    page.page.locator(".face-button").nth(3).focus()
    assert "lit" in page.page.locator(".face").nth(3).get_attribute("class")
    page.page.locator(".face-button").nth(3).press("Enter")
    page.page.locator(".face").nth(3).get_by_text("Sharpness").wait_for()
    page.shot("try-crowd")
    slider = page.page.get_by_label("Threshold")
    slider.fill("0.7")
    page.page.wait_for_function("() => !document.querySelector('.result.busy')")
    slider.dispatch_event("change")
    segment(page, "Faces and embeddings")
    text(page, ".code", "/v1/embeddings?threshold=0.7")
    text(page, ".code", "… (128 numbers)")


def test_the_curl_is_the_request(open_page: Any) -> None:
    page: Page = open_page()
    page.go()
    with page.page.expect_request("**/v1/detect**") as asked:
        choose(page, HOPPER)
    has(page, ".face", 1)
    told = page.page.locator(".code pre").first.inner_text()
    assert f"'{asked.value.url}'" in told
    assert "--data-binary @grace_hopper.jpg" in told and "'Content-Type: image/jpeg'" in told
    page.page.get_by_role("button", name="Copy curl").click()
    text(page, ".toast", "Copied")


def test_the_last_question_counts_whichever_answer_comes_last(open_page: Any, served: Served) -> None:
    page: Page = open_page()
    page.go()
    choose(page, HOPPER)
    has(page, ".face", 1)
    served.refusals.held = {"/v1/embeddings"}
    with page.page.expect_response("**/v1/embeddings**") as late:
        segment(page, "Faces and embeddings")
        segment(page, "Faces")
        page.page.wait_for_function("() => !document.querySelector('.result.busy')")
        wait_ready(lambda: ("POST", "/v1/embeddings") in served.refusals.calls)
        served.refusals.held.clear()
    late.value.finished()
    page.page.wait_for_timeout(500)
    text(page, ".code", "/v1/detect?threshold")


def test_a_broken_picture_says_so(open_page: Any, tmp_path: Path) -> None:
    page: Page = open_page()
    page.go()
    (tmp_path / "broken.jpg").write_bytes(b"this is no picture")
    choose(page, tmp_path / "broken.jpg")
    text(page, "[role=alert]", "not an image")
    page.shot("try-failed")


def test_a_picture_is_pasted_and_dropped(open_page: Any) -> None:
    page: Page = open_page()
    page.go()
    make = """async (how) => {
        const canvas = new OffscreenCanvas(200, 200);
        canvas.getContext('2d').fillRect(0, 0, 200, 200);
        const file = new File([await canvas.convertToBlob()], how + '.png', {type: 'image/png'});
        const data = new DataTransfer();
        data.items.add(file);
        const target = how === 'paste' ? document : document.querySelector('.drop:not([hidden])');
        target.dispatchEvent(how === 'paste' ? new ClipboardEvent('paste', {clipboardData: data}) : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    page.page.evaluate(make, "paste")
    text(page, ".panel-head h2", "paste.png")
    text(page, ".empty", "No face found")
    page.page.evaluate(make, "drop")
    text(page, ".panel-head h2", "drop.png")


def test_a_picture_is_taken_with_the_camera(open_page: Any) -> None:
    page: Page = open_page(permissions=["camera"])
    page.go()
    page.page.get_by_role("button", name="Take a picture").first.click()
    take = page.page.get_by_role("button", name="Take it")
    page.page.wait_for_function("() => document.activeElement?.textContent === 'Take it'")
    page.shot("camera", full=False)
    take.click()
    text(page, ".panel-head h2", "camera.jpg")


def test_numbers_never_lie_on_a_face(open_page: Any) -> None:
    """On the crowd as it was found, and on one so dense that there is no room."""
    page: Page = open_page()
    page.go()
    spots = page.page.evaluate("""async () => {
        const base = document.querySelector('script[type=module]').src.replace(/app\\.js$/, '');
        const { places } = await import(base + 'overlay.js');
        const crowd = [];
        for (let y = 0; y < 8; y += 1) for (let x = 0; x < 12; x += 1) crowd.push([x * 50 + 4, y * 64 + 24, x * 50 + 40, y * 64 + 64]);
        const dense = crowd.map(([l, t]) => [l, t, l + 49, t + 63]);
        return [crowd, dense].map((boxes) => ({ boxes, places: places(boxes, 620, 560, boxes.map(() => 20)) }));
    }""")
    for crowd in spots:
        placed = [place for place in crowd["places"] if place]
        for place in placed:
            others = [*crowd["boxes"], *(other for other in placed if other is not place)]
            assert not any(place[0] < o[2] and o[0] < place[2] and place[1] < o[3] and o[1] < place[3] for o in others)
    assert sum(place is not None for place in spots[0]["places"]) > 48


def test_compare(open_page: Any) -> None:
    page: Page = open_page()
    page.go("compare")
    page.shot("compare-empty")
    choose(page, HOPPER, zone=".side:nth-child(1)")
    choose(page, GROUP, zone=".side:nth-child(2)")
    page.page.locator(".scale").wait_for()
    text(page, ".side", "The only face")
    text(page, ".side", "The largest of 24 faces")
    page.shot("compare")
    verdicts = set()
    for choice in (0, 1, 2, 5, 9, 23):
        page.page.locator(".choice").nth(choice).click()
        text(page, ".side", f"Face {choice + 1}, chosen by you")
        page.page.wait_for_function("() => !document.querySelector('.verdict.busy')")
        verdicts.add(page.page.locator(".verdict .pill.big").inner_text())
    assert verdicts == {"Same person", "Different persons"}
    page.page.locator(".verdict input[type=range]").fill("0.99")
    page.page.locator(".verdict input[type=range]").dispatch_event("change")
    text(page, ".verdict", "chosen here")
    page.page.get_by_role("button", name="Use the service’s own").click()
    text(page, ".verdict", "recommended for this network")


def test_two_persons_are_different(open_page: Any) -> None:
    page: Page = open_page()
    page.go("compare")
    choose(page, HOPPER, zone=".side:nth-child(1)")
    choose(page, ASTRONAUT, zone=".side:nth-child(2)")
    text(page, ".verdict .pill", "Different persons")
    page.shot("compare-different")


def test_collections_are_made_filled_searched_and_dropped(open_page: Any, served: Served, tmp_path: Path) -> None:
    page: Page = open_page()
    page.go("collections")
    text(page, ".empty h2", "No collections yet")
    page.shot("collections-empty")
    make_collection(page)
    page.page.get_by_role("button", name="Add a field").click()
    page.page.get_by_role("textbox", name="Key").fill("city")
    page.page.get_by_role("textbox", name="Value").fill("Oslo")
    enrol(page, "Grace Hopper", HOPPER, GROUP)
    text(page, ".notice.good", "Grace Hopper is enrolled")
    has(page, ".outcome .pill.good", 1)
    text(page, ".outcome", "Faces in the picture: 24. “Take the largest” would enrol it")
    page.shot("enrol")
    enrol(page, "Eileen Collins", ASTRONAUT)
    text(page, ".notice.good", "Eileen Collins is enrolled")
    assert {one["name"]: one["metadata"] for one in served.people()} == {
        "Grace Hopper": {"city": "Oslo"},
        "Eileen Collins": {},
    }

    page.page.get_by_role("link", name="Persons").click()
    has(page, ".person", 2)
    has(page, ".person .crop img", 2)
    page.shot("persons")
    page.page.get_by_label("Find persons").fill("eileen")
    has(page, ".person", 1)
    page.page.get_by_label("Find persons").fill("city = Oslo")
    text(page, ".person", "Grace Hopper")
    has(page, ".person", 1)
    page.page.get_by_label("Find persons").fill("city = Paris")
    text(page, ".empty h2", "Nobody fits")

    page.page.get_by_role("link", name="Search").click()
    choose(page, HOPPER, GROUP)
    has(page, ".probe", 25)
    page.page.wait_for_function("() => document.querySelectorAll('.match .crop img').length > 1")
    text(page, ".probe .pill.good", "Known")
    page.page.locator(".probe").first.scroll_into_view_if_needed()
    page.page.mouse.wheel(0, 420)
    page.shot("search", full=False)
    page.page.get_by_label("Only persons with").fill("city = Oslo")
    page.page.get_by_label("Only persons with").press("Enter")
    page.page.wait_for_function("() => document.querySelectorAll('.match').length === 25")
    page.page.get_by_label("Only persons with").fill("")
    page.page.get_by_label("Show what lies below").uncheck()
    choose(page, ASTRONAUT)
    text(page, ".match", "Eileen Collins")
    has(page, ".match", 1)

    with page.page.expect_download() as saved:
        page.page.get_by_role("link", name="Export").click()
    lines = [json.loads(line) for line in Path(saved.value.path()).read_text("utf-8").splitlines()]
    assert [len(line["vector"]) for line in lines] == [128, 128] and saved.value.suggested_filename == "staff.ndjson"

    page.go("collections")
    has(page, ".card", 1)
    page.shot("collections")
    page.page.get_by_role("button", name="Delete staff").click()
    go = page.page.get_by_role("button", name="Delete collection")
    assert go.is_disabled()
    page.page.get_by_label("Type “staff” to confirm").fill("stafff")
    assert go.is_disabled()
    page.page.get_by_label("Type “staff” to confirm").fill("staff")
    page.shot("drop", full=False)
    go.click()
    text(page, ".empty h2", "No collections yet")
    assert served.api("GET", "/collections")["items"] == []


def test_nobody_is_enrolled_from_a_crowd(open_page: Any, served: Served) -> None:
    page: Page = open_page()
    make_collection(page)
    enrol(page, "The crowd", GROUP)
    text(page, "[role=alert]", "Nobody was enrolled")
    text(page, ".outcome", "Faces in the picture: 24.")
    assert served.people() == []
    segment(page, "Take the largest")
    page.page.get_by_role("button", name="Enrol").click()
    text(page, ".notice.good", "The crowd is enrolled")


def test_a_person_is_changed_and_deleted(open_page: Any, served: Served) -> None:
    page: Page = open_page()
    make_collection(page)
    enrol(page, "Grace", HOPPER)
    page.page.get_by_role("link", name="Open", exact=True).click()
    has(page, ".tile .crop img", 1)
    choose(page, HOPPER)
    has(page, ".tile .crop img", 2)
    text(page, ".outcome", "Very like a face of")
    page.page.get_by_role("button", name="Edit").click()
    page.page.get_by_label("Name").fill("Grace Hopper")
    page.page.get_by_role("button", name="Add a field").click()
    page.page.get_by_role("textbox", name="Key").fill("born")
    page.page.get_by_role("textbox", name="Value").fill("1906")
    page.page.get_by_role("button", name="Save").click()
    text(page, "h1", "Grace Hopper")
    text(page, ".pill", "born: 1906")
    page.shot("person")
    page.page.get_by_role("button", name="Delete face").first.click()
    page.page.locator("dialog").get_by_role("button", name="Delete").click()
    has(page, ".tile", 1)
    page.page.locator(".page-head").get_by_role("button", name="Delete").click()
    page.page.locator("dialog").get_by_role("button", name="Delete", exact=True).click()
    text(page, ".empty h2", "Nobody here yet")
    assert served.people() == [] and served.api("GET", "/collections/staff")["faces"] == 0


def test_a_folder_is_imported(open_page: Any, served: Served, tmp_path: Path) -> None:
    page: Page = open_page()
    make_collection(page)
    folder = tmp_path / "people"
    for name, files in {"Grace Hopper": [HOPPER, HOPPER], "Eileen Collins": [ASTRONAUT], "Nobody": [GROUP]}.items():
        (folder / name).mkdir(parents=True)
        for index, file in enumerate(files):
            (folder / name / f"{index}.jpg").write_bytes(file.read_bytes())
    (folder / "Nobody" / "notes.txt").write_text("no picture")
    page.page.get_by_role("link", name="Import a folder").click()
    page.shot("import-empty")
    served.refusals.busy = 1
    page.page.locator(".drop input[type=file]").set_input_files(str(folder))
    text(page, "h2", "3 persons, 4 pictures")
    page.shot("import-preview")
    page.page.get_by_role("button", name="Import 3 persons").click()
    text(page, "h2", "Import finished")
    text(page, "tr", "None taken")
    page.shot("import")
    assert {one["name"] for one in served.people()} == {"Grace Hopper", "Eileen Collins"}
    with page.page.expect_download() as saved:
        page.page.get_by_role("button", name="Report (CSV)").click()
    assert len(Path(saved.value.path()).read_text("utf-8").splitlines()) == 5
    page.page.get_by_role("button", name="Import more").click()
    page.page.locator(".drop input[type=file]").set_input_files(str(folder))
    page.page.get_by_role("button", name="Import 3 persons").click()
    text(page, "h2", "Import finished")
    assert len(served.people()) == 2


def test_persons_by_pages(open_page: Any, served: Served) -> None:
    page: Page = open_page()
    make_collection(page)
    vector = [1.0] + [0.0] * 127
    for n in range(60):
        body = {"id": f"p{n:03}", "name": f"Person {n:03}", "metadata": {"age": n}, "vectors": [vector]}
        served.api("POST", "/collections/staff/persons", body)
    page.page.get_by_role("link", name="Persons").click()
    has(page, ".person", 24)
    page.page.get_by_role("button", name="Next").click()
    text(page, ".person", "Person 024")
    page.page.get_by_role("button", name="Next").click()
    has(page, ".person", 12)
    page.page.get_by_role("button", name="Back").click()
    text(page, ".person", "Person 024")
    page.page.get_by_label("Find persons").fill("age >= 50, age < 53")
    has(page, ".person", 3)
    page.page.get_by_label("Find persons").fill("son 059")
    has(page, ".person", 1)


def test_status(open_page: Any, served: Served, hopper: bytes) -> None:
    page: Page = open_page()
    page.go("status")
    has(page, ".meter", 6)
    for _ in range(3):
        page.page.evaluate(
            "fetch('/multipart/extract', {method: 'POST', body: (() => { const f = new FormData(); f.append('files', new Blob([new Uint8Array([1])])); return f; })()})"
        )
        page.page.wait_for_timeout(700)
    page.page.request.post(f"{served.url}/extract", data=hopper, headers={"Content-Type": "image/jpeg"}, timeout=60_000)
    text(page, "table", "yunet")
    text(page, "table", "POST /extract")
    page.page.wait_for_function("() => document.querySelectorAll('.spark .line').length === 6")
    text(page, ".live", "Ready")
    page.shot("status")
    page.page.locator(".table-room").last.focus()
    for _ in range(2):  # by the second one the tables were made anew
        with page.page.expect_request("**/metrics"):
            pass
    assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Route"


def test_the_key_is_asked_for_and_kept_in_the_tab(open_page: Any, served: Served) -> None:
    served.refusals.key = "vk_right"
    page: Page = open_page()
    page.go("compare")
    page.page.evaluate("() => { location.hash = '#/collections'; }")
    page.page.get_by_role("textbox", name="Key").fill("vk_wrong")
    page.page.get_by_role("button", name="Use key").click()
    text(page, "dialog [role=alert]", "This key was refused")
    page.page.get_by_role("textbox", name="Key").fill("vk_right")
    page.shot("key", full=False)
    page.page.get_by_role("button", name="Use key").click()
    text(page, ".empty h2", "No collections yet")
    page.page.reload()
    text(page, ".empty h2", "No collections yet")
    assert page.page.evaluate("[sessionStorage.getItem('visage-key'), localStorage.getItem('visage-key')]") == [
        "vk_right",
        None,
    ]
    served.refusals.key = None


def test_languages_and_themes(open_page: Any) -> None:
    page: Page = open_page(locale="de-DE")
    page.go()
    text(page, "h1", "Ausprobieren")
    page.page.get_by_label("Sprache").select_option("en")
    text(page, "h1", "Try it")
    back = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.page.evaluate(back)
    page.page.get_by_role("button", name="Theme").click()
    page.page.get_by_role("button", name="Theme").click()
    assert page.page.evaluate(back) != light
    page.page.reload()
    page.page.locator("h1").wait_for()
    assert page.page.evaluate(back) != light


def test_what_other_keyboards_and_systems_write(open_page: Any) -> None:
    page: Page = open_page()
    page.go()
    where = page.imported("filter.js", "({ parse }) => parse('city ＝ 東京，age ＞= 18')")
    assert where == {"where": {"city": "東京", "age": {"gte": 18}}}
    names = ["が", "か\u3099", "か"]
    composed, decomposed, other = page.imported("people.js", "({ idOf }, names) => names.map(idOf)", names)
    assert composed == decomposed != other


def test_nought_has_no_sign(open_page: Any) -> None:
    page: Page = open_page()
    page.go()
    said = page.imported("texts.js", "({ number }, given) => given.map((x) => number(x))", [-0.4, 0.4, -0.6])
    assert said == ["0", "0", "-1"]


@pytest.mark.parametrize(
    "code", ["ru", *(pytest.param(code, marks=pytest.mark.slow) for code in languages() if code != "ru")]
)
def test_every_language_has_room(open_page: Any, served: Served, code: str) -> None:
    page: Page = open_page(360, 740, locale=code)
    served.api("POST", "/collections", {"name": "staff"})
    titles = {}
    for place in ("try", "compare", "collections", "collections/staff/import", "collections/staff/search", "status"):
        page.go(place)
        for width in (1000, 360):
            page.page.set_viewport_size({"width": width, "height": 740})
            assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{place} at {width} px"
            tops = page.page.evaluate("[...document.querySelectorAll('.nav a')].map((a) => a.offsetTop)")
            assert len(tops) == 4 and len(set(tops)) == 1, f"the navigation's entries at {width} px"
        page.go()  # chosen anew at this width
        page.go(place)
        edges = "[...document.querySelectorAll('nav [aria-current]')].map((a) => a.getBoundingClientRect())"
        for edge in page.page.evaluate(f"{edges}.map((e) => [e.left, e.right])"):
            assert edge[0] >= 0 and edge[1] <= 360, f"what was chosen is in sight: {place}"
        titles[place] = page.page.locator("h1").inner_text()
        page.shot(f"{code}-{place.split('/')[-1]}")
    assert page.page.evaluate("document.documentElement.lang") == code
    page.page.get_by_role("combobox").first.select_option("en" if code != "en" else "de")
    page.page.wait_for_function(f"document.documentElement.lang !== '{code}'")
    page.go("compare")
    assert page.page.locator("h1").inner_text() != titles["compare"]


def test_the_keyboard_reaches_everything(open_page: Any) -> None:
    page: Page = open_page()
    page.go()
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.id") == "skip"
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "main"
    choose(page, HOPPER)
    has(page, ".face", 1)
    page.page.keyboard.press("Tab")
    reached = set()
    for _ in range(60):
        page.page.keyboard.press("Tab")
        seen = page.page.evaluate(
            "(() => { const e = document.activeElement; if (e === document.body) return null; const s = getComputedStyle(e); return [e.textContent.trim() || e.getAttribute('aria-label') || e.id, s.outlineStyle]; })()"
        )
        if seen:
            reached.add(seen[0])
    every = page.page.evaluate(
        "[...document.querySelectorAll('a[href], button:not([disabled])')].filter((e) => e.checkVisibility() && e.offsetParent).map((e) => e.textContent.trim() || e.getAttribute('aria-label'))"
    )
    assert set(every) - {"Skip to content"} <= reached


@pytest.mark.parametrize(
    ("width", "height", "name", "theme"),
    [
        (360, 740, "phone", "dark"),
        pytest.param(1720, 1000, "wide", "light", marks=pytest.mark.slow),
        pytest.param(360, 740, "phone", "light", marks=pytest.mark.slow),
        pytest.param(1720, 1000, "wide", "dark", marks=pytest.mark.slow),
    ],
)
def test_phone_and_wide(open_page: Any, width: int, height: int, name: str, theme: str) -> None:
    page: Page = open_page(width, height, theme)
    make_collection(page, f"{name}-{theme}")
    enrol(page, "Grace Hopper", HOPPER)
    page.shot(f"{name}-{theme}-enrol")
    for place, wait in (
        ("collections", ".card"),
        (f"collections/{name}-{theme}", ".person .crop img"),
        (f"collections/{name}-{theme}/import", ".drop"),
        ("status", ".spark .line"),
        ("compare", ".drop"),
        ("try", ".drop"),
        (f"collections/{name}-{theme}/search", ".drop"),
    ):
        page.go(place)
        page.page.locator(wait).first.wait_for(state="attached")
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{place} is wider than {width} px"
        )
        page.shot(f"{name}-{theme}-{place.split('/')[-1]}")
    choose(page, GROUP)
    has(page, ".probe", 24)
    page.page.locator(".match .crop img").first.wait_for()
    page.shot(f"{name}-{theme}-found", full=False)
    page.go("try")
    choose(page, GROUP)
    text(page, "h2", "24 faces found")
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.shot(f"{name}-{theme}-crowd")
    page.go("compare")
    choose(page, HOPPER, zone=".side:nth-child(1)")
    choose(page, GROUP, zone=".side:nth-child(2)")
    page.page.locator(".scale").wait_for()
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.shot(f"{name}-{theme}-compared")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_that_axe_would_fault(open_page: Any, theme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    ).Axe()
    page: Page = open_page(theme=theme)
    # The page's policy forbids scripts from elsewhere, the checker's too.
    found: list[str] = []

    def check(place: str) -> None:
        answer = axe.run(
            page.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
        ).response
        found.extend(
            f"{place}: {fault['id']}: {node['html'][:160]} {node['failureSummary']}"
            for fault in answer["violations"]
            for node in fault["nodes"]
        )

    make_collection(page)
    enrol(page, "Grace Hopper", HOPPER)
    check("enrol")
    for place, wait in (
        ("collections", ".card"),
        ("collections/staff", ".person .crop img"),
        ("collections/staff/import", ".drop"),
        ("status", ".spark"),
        ("compare", ".drop"),
        ("collections/staff/search", ".drop"),
    ):
        page.go(place)
        page.page.locator(wait).first.wait_for(state="attached")
        check(place)
    choose(page, GROUP)
    has(page, ".probe", 24)
    check("found")
    page.go("try")
    choose(page, GROUP, HOPPER)
    has(page, ".strip-item.done", 2)
    check("try")
    page.go("compare")
    choose(page, HOPPER, zone=".side:nth-child(1)")
    choose(page, GROUP, zone=".side:nth-child(2)")
    page.page.locator(".scale").wait_for()
    check("compared")
    page.go("collections")
    page.page.get_by_role("button", name="New collection").click()
    check("dialog")
    assert found == []


@pytest.mark.parametrize("place", ["collections/staff/persons/..", "collections/..", "collections/staff/persons/."])
def test_an_address_that_would_name_something_else_shows_nothing_to_delete(open_page: Any, place: str) -> None:
    page: Page = open_page()
    make_collection(page)
    page.page.goto(f"{page.url}/ui#/{place}")
    text(page, "main", "names nothing here")
    assert page.page.get_by_role("button", name="Delete").count() == 0
