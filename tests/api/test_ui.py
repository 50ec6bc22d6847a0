"""The page's files: how they are served, and that they hold together."""

import re

import pytest

from tests.support import REPO, constant_client
from visage.api.ui.assets import assets, languages

UI = REPO / "src" / "visage" / "api" / "ui"
SCRIPTS = sorted(UI.rglob("*.js"))


def test_the_page_forbids_what_is_not_its_own() -> None:
    with constant_client() as client:
        answer = client.get("/ui")
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' blob: data:" and policy["frame-ancestors"] == "'none'"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_the_page_names_is_there_and_kept_for_good() -> None:
    with constant_client() as client:
        named = re.findall(r'(?:href|src)="(ui/[^"]+)"', client.get("/ui").text)
        assert len(named) == 6
        for name in named:
            answer = client.get(f"/{name}")
            assert answer.status_code == 200, name
            assert "immutable" in answer.headers["cache-control"]


def test_an_asset_is_asked_for_again_with_its_etag() -> None:
    with constant_client() as client:
        path = f"/ui/assets/{assets().digest}/js/app.js"
        etag = client.get(path).headers["etag"]
        again = client.get(path, headers={"If-None-Match": etag})
        assert again.status_code == 304 and again.content == b""
        assert client.get("/ui", headers={"If-None-Match": client.get("/ui").headers["etag"]}).status_code == 304


def test_a_page_from_before_an_update_is_not_kept() -> None:
    with constant_client() as client:
        answer = client.get("/ui/assets/0123456789ab/js/app.js")
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["assets.py", "js/none.js", "index.html", "%2e%2e/pages.py"])
def test_nothing_but_the_assets_is_served(name: str) -> None:
    with constant_client() as client:
        assert client.get(f"/ui/assets/{assets().digest}/{name}").status_code == 404


def test_a_slash_too_many_leads_to_the_page() -> None:
    with constant_client() as client:
        assert client.get("/ui/").headers["location"] == "../ui"


def test_the_page_works_behind_a_prefix() -> None:
    with constant_client(ROOT_PATH="/faces") as client:
        text = client.get("/faces/ui").text
        assert 'src="ui/assets/' in text
        assert client.get(f"/faces/ui/assets/{assets().digest}/js/app.js").status_code == 200


def test_nothing_is_inline_that_the_policy_forbids() -> None:
    html = (UI / "index.html").read_text("utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style", html)
    assert all("></script>" in script for script in re.findall(r"<script[^>]*>.{0,20}", html))
    for script in SCRIPTS:
        text = script.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function", text), script.name


def test_no_file_names_another_host() -> None:
    for path in (*SCRIPTS, *UI.rglob("*.css"), *UI.rglob("*.html"), *UI.rglob("*.svg")):
        found = set(re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", path.read_text("utf-8")))
        assert found <= {"http://www.w3.org"}, path.name


def test_every_import_is_there() -> None:
    for script in SCRIPTS:
        for name in re.findall(r'(?:from|import\()\s*"(\.[^"]+)"', script.read_text("utf-8")):
            assert (script.parent / name).is_file(), f"{script.name} imports {name}"


_TEXT = r'"(?:[^"\\]|\\.)*"'
_ENTRY = re.compile(rf'"?([a-z][\w.]*)"?: (?:({_TEXT})|\{{((?: ?\w+: {_TEXT},? ?)+)\}})')
_PLURALS = {code: {"other"} for code in ("ja", "ko", "zh")} | {"ru": {"one", "few", "many", "other"}}  # Unicode CLDR


def _texts(code: str) -> dict[str, dict[str, str]]:
    """A language's texts, each by its plural forms; a text without such is its own `other`."""
    found = _ENTRY.findall((UI / "js" / "texts" / f"{code}.js").read_text("utf-8"))
    return {
        key: dict(re.findall(rf"(\w+): ({_TEXT})", forms)) if forms else {"other": text} for key, text, forms in found
    }


def _names(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


def test_every_language_has_a_file_and_a_name() -> None:
    named = re.search(r"LANGUAGES = \{(.*?)\};", (UI / "js" / "texts.js").read_text("utf-8"), re.DOTALL)
    assert named and sorted(re.findall(r"(\w+): \"", named[1])) == languages()
    assert len(languages()) == 10


@pytest.mark.parametrize("code", languages())
def test_every_language_says_everything_with_the_same_names(code: str) -> None:
    english = _texts("en")
    assert len(english) > 250
    own = _texts(code)
    assert own.keys() == english.keys()
    for key, forms in own.items():
        assert all(_names(text) == _names(english[key]["other"]) for text in forms.values()), key
        assert set(forms) in ({"other"}, _PLURALS.get(code, {"one", "other"})), key


def test_every_text_that_is_asked_for_is_there() -> None:
    asked = {key for script in SCRIPTS for key in re.findall(r'\bt\("([\w.]+)"', script.read_text("utf-8"))}
    assert len(asked) > 150
    assert asked <= _texts("en").keys()


def test_the_api_mentions_the_page() -> None:
    with constant_client() as client:
        document = client.get("/openapi.json").json()
        assert "(ui)" in document["info"]["description"]
        assert not [path for path in document["paths"] if path.startswith("/ui")]
