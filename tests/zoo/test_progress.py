import io
import logging
import sys
from types import SimpleNamespace

import pytest

from visage.zoo import progress
from visage.zoo.progress import metered


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds since the start, as the meter sees them."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_log_gets_a_line_now_and_then(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), metered("tiny from there") as meter:
        for second in range(35):
            clock.seconds = 100.0 + second
            meter(second * 1_000_000, 40_000_000)
    assert caplog.messages == [
        f"tiny from there: {second}.0 of 40.0 MB ({second * 100 / 40:.0f} %)" for second in (10, 20, 30)
    ]


@pytest.mark.parametrize("total", [None, 0])
def test_a_length_that_is_unknown_is_not_made_up(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture, total: int | None
) -> None:
    with caplog.at_level(logging.INFO), metered("tiny") as meter:
        clock.seconds += 11
        meter(2_500_000, total)
    assert caplog.messages == ["tiny: 2.5 MB"]


def test_what_is_quick_is_not_talked_about(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), metered("tiny") as meter:
        meter(1, 2)
        clock.seconds += 9
        meter(2, 2)
    assert caplog.messages == []


def test_a_person_sees_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    with caplog.at_level(logging.INFO), metered("tiny from there") as meter:
        meter(500_000, None)
        meter(1_000_000, 2_000_000)
    assert "tiny from there" in screen.getvalue() and "1.0/2.0 MB" in screen.getvalue()
    assert caplog.messages == []
