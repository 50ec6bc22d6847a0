"""`visage keys`: what it prints, and that a service believes it."""

import json
import re
from pathlib import Path

import pytest

from tests.support import constant_client, wait_ready
from visage.__main__ import main


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["keys", *words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_the_secret_alone_is_on_standard_output(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "add", "desk", "--scopes", "read,write", "--collections", "a, b", "--rate", "60/min")
    assert status == 0
    assert re.fullmatch(r"vk_[\w-]{43}\n", out)
    assert re.match(r"k[0-9a-f]{8} may read, write in a, b, 60 requests a minute\.", err)
    assert out.strip() not in err


def test_a_key_opens_a_service_until_it_is_revoked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with constant_client(AUTH="keys", DATA_DIR=str(data)) as client:
        capsys.readouterr()  # the service's log
        _, secret, _ = run(capsys, "add", "desk")
        shown = {"Authorization": f"Bearer {secret.strip()}"}
        assert client.get("/info", headers=shown).status_code == 200
        assert run(capsys, "revoke", "desk")[0] == 0
        # At once, unless the word that it was used is being written just then.
        wait_ready(lambda: client.get("/info", headers=shown).status_code == 401)


def test_the_list_has_everything_but_the_secret(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "visage keys add" in run(capsys, "list")[1]
    secrets = [
        run(capsys, "add", "desk", "--scopes", "write", "--rate", "5")[1].strip(),
        run(capsys, "add", "ops", "--scopes", "admin", "--collections", "staff")[1].strip(),
    ]
    run(capsys, "revoke", "ops")
    _, out, _ = run(capsys, "list")
    head, desk, ops = (re.split(r"\s{2,}", line) for line in out.splitlines())
    assert head == ["id", "name", "scopes", "collections", "rate", "created", "last used", "revoked"]
    assert (desk[1:5], desk[6:]) == (["desk", "write", "all", "5"], ["–", "–"])
    assert (ops[1:5], ops[7][:2]) == (["ops", "admin", "staff", "–"], "20")
    told = json.loads(run(capsys, "list", "--json")[1])
    assert [(key["name"], key["scopes"], key["collections"], key["rate"]) for key in told] == [
        ("desk", ["write"], [], 5),
        ("ops", ["admin"], ["staff"], None),
    ]
    assert not any(secret in out + json.dumps(told) for secret in secrets)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "desk", "--scopes", "read,root"], "root"),
        (["add", "desk", "--rate", "often"], "often"),
        (["add", " "], "name"),
        (["add", "a\nb"], "printable"),
        (["revoke", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (1, "")
    assert err.startswith("visage: Configuration error: ") and said in err and err.count("\n") == 1
    assert not (data / "access.db").exists()


def test_keys_made_and_revoked_are_in_the_audit_log(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_LOG", str(data / "audit.jsonl"))
    assert main(["keys", "add", "door"]) == 0
    assert main(["keys", "revoke", "door"]) == 0
    lines = [json.loads(line) for line in (data / "audit.jsonl").read_text("utf-8").splitlines()]
    assert [(line["method"], line["path"]) for line in lines] == [("keys add", "door"), ("keys revoke", "door")]
    assert lines[0]["key"] == lines[1]["key"] != ""
    assert capsys.readouterr().out.splitlines()[0] not in (data / "audit.jsonl").read_text("utf-8")


def test_keys_are_exported_for_another_service(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, secret, _ = run(capsys, "add", "desk", "--scopes", "read")
    run(capsys, "add", "gone")
    run(capsys, "revoke", "gone")
    status, lines, _ = run(capsys, "export")
    assert status == 0 and len(lines.splitlines()) == 1 and secret.strip() not in lines
    listed = tmp_path / "keys.jsonl"
    listed.write_text(lines, "utf-8")
    with constant_client(AUTH="keys", DATA_DIR=str(tmp_path / "other"), AUTH_KEYS_FILE=str(listed)) as client:
        shown = {"Authorization": f"Bearer {secret.strip()}"}
        assert client.get("/info", headers=shown).status_code == 200
        assert client.get("/info").status_code == 401


@pytest.mark.parametrize("what", ["add", "revoke"])
def test_without_its_audit_log_nothing_is_done(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Else there would be a key whose secret nobody has seen."""
    run(capsys, "add", "desk")
    monkeypatch.setenv("AUDIT_LOG", str(tmp_path / "absent" / "audit.jsonl"))
    status, out, err = run(capsys, what, "lost" if what == "add" else "desk")
    assert (status, out) == (1, "") and "AUDIT_LOG=" in err
    keys = json.loads(run(capsys, "list", "--json")[1])
    assert [(key["name"], key["revoked"]) for key in keys] == [("desk", None)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--collections", "No Such!"], "'No Such!' can be no collection's name"),
        (["--collections", "staff,Guests"], "'Guests'"),
        (["--collections", ","], "names none"),
        (["--rate", "0"], "leave --rate out for any number"),
        (["--rate", "0/min"], "leave --rate out for any number"),
        (["--rate", "-5"], "a rate is a number"),
    ],
)
def test_what_would_do_another_thing_than_it_says_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    status, out, err = run(capsys, "add", "desk", *words)
    assert status == 1 and out == "" and said in err and not data.exists()


def test_a_name_is_no_novel(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "add", "x" * 129)[0] == 1 and run(capsys, "add", "x" * 128)[0] == 0
