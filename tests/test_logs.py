import json
import re
import subprocess
import sys
from typing import Any

import pytest

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"

PROGRAM = """
import logging, sys, warnings
import structlog
from visage.logs import configure

configure(sys.argv[1], sys.argv[2])
structlog.get_logger("visage.request").info("request", path="/x", status=200, ok=True, none=None)
structlog.get_logger("visage.request").info("request", path="/a\\n2026 error forged\\x1b[2J")
logging.getLogger("visage.runtime").warning("said %s", "one\\ntwo")
logging.getLogger("visage.runtime").debug("in detail")
logging.getLogger("visage.audit").info("audit", extra={"key": "k1"})
logging.getLogger("stranger").info("a stranger's small talk")
logging.getLogger("stranger").warning("a stranger's warning", extra={"key": "value"})
logging.getLogger("uvicorn.access").error("a second line for each request")
logging.getLogger("uvicorn.error").info("uvicorn's small talk")
logging.getLogger("uvicorn.error").error("uvicorn's error")
try:
    raise ZeroDivisionError("by nothing")
except ZeroDivisionError:
    structlog.get_logger("visage.request").exception("unforeseen", incident="abc")
warnings.warn("careful")
"""


@pytest.fixture(scope="module")
def lines() -> Any:
    """What a process of its own logs: logging is global."""
    told: dict[tuple[str, str], list[str]] = {}

    def run(level: str, form: str) -> list[str]:
        if (level, form) not in told:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, level, form], capture_output=True, text=True, check=True, timeout=100
            )
            assert done.stdout == ""
            told[level, form] = done.stderr.splitlines()
        return told[level, form]

    return run


def test_a_text_line_is_time_level_message_and_what_belongs_to_it(lines: Any) -> None:
    assert re.fullmatch(rf"{TIME} info    request path=/x status=200 ok=True none=None", lines("INFO", "text")[0])


def test_nothing_that_a_caller_sends_begins_a_line_or_steers_a_terminal(lines: Any) -> None:
    second = lines("INFO", "text")[1]
    assert second.endswith(r"request path=/a\n2026 error forged\x1b[2J")
    assert not any(line.startswith(("2026 error forged", "two")) for line in lines("INFO", "text"))


def test_a_traceback_stands_on_its_own_lines_below(lines: Any) -> None:
    text = "\n".join(lines("INFO", "text"))
    assert re.search(
        rf"{TIME} error   unforeseen incident=abc\nTraceback \(most recent call last\):\n(  .*\n)+ZeroDivisionError: by nothing",
        text,
    )


def test_each_json_line_is_an_object_with_time_level_and_event(lines: Any) -> None:
    events = [json.loads(line) for line in lines("INFO", "json")]
    assert all(re.fullmatch(TIME, event["timestamp"]) and event["level"] and event["event"] for event in events)
    first = events[0]
    assert (first["event"], first["path"], first["status"], first["ok"], first["none"]) == (
        "request",
        "/x",
        200,
        True,
        None,
    )
    (incident,) = [event for event in events if event["event"] == "unforeseen"]
    assert incident["incident"] == "abc"
    assert incident["exception"].endswith("ZeroDivisionError: by nothing")
    (stranger,) = [event for event in events if event["event"] == "a stranger's warning"]
    assert stranger["key"] == "value"


@pytest.mark.parametrize("form", ["text", "json"])
def test_strangers_are_heard_from_warnings_on_and_requests_once_only(lines: Any, form: str) -> None:
    text = "\n".join(lines("INFO", form))
    assert "a stranger's warning" in text and "uvicorn's error" in text and "UserWarning: careful" in text
    assert "small talk" not in text
    assert "a second line for each request" not in text


def test_the_level_says_what_of_ours_is_logged(lines: Any) -> None:
    def ours(level: str) -> set[str]:
        return {event["event"] for event in map(json.loads, lines(level, "json"))} & {
            "request",
            "said one\ntwo",
            "in detail",
            "unforeseen",
        }

    assert ours("DEBUG") == {"request", "said one\ntwo", "in detail", "unforeseen"}
    assert ours("INFO") == {"request", "said one\ntwo", "unforeseen"}
    assert ours("WARNING") == {"said one\ntwo", "unforeseen"}
    assert ours("ERROR") == {"unforeseen"}


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_the_audit_log_is_kept_whatever_the_level(lines: Any, level: str) -> None:
    assert [e["key"] for e in map(json.loads, lines(level, "json")) if e["event"] == "audit"] == ["k1"]
