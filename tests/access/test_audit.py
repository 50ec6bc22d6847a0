import json
import logging
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from visage.access.audit import audit_of
from visage.errors import ConfigurationError

LINE = {"method": "POST", "path": "/v1/collections/a/persons", "status": 201, "request_id": "r1"}


def test_a_line_says_when_who_what_and_what_came_of_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = audit_of(str(path))
    audit.record(key="k1", **LINE)
    audit.record(key=None, **LINE | {"status": 401, "path": "/v1/\n"})
    first, second = map(json.loads, path.read_text("utf-8").splitlines())
    said = datetime.fromisoformat(first.pop("time"))
    assert abs((datetime.now(UTC) - said).total_seconds()) < 60
    assert first == {"key": "k1", **LINE}
    assert (second["key"], second["status"], second["path"]) == (None, 401, "/v1/\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = audit_of(str(path))
    audit.record(key="k1", **LINE)
    path.rename(tmp_path / "audit.1")
    audit.record(key="k2", **LINE)
    assert [json.loads(text)["key"] for text in path.read_text("utf-8").splitlines()] == ["k2"]


def test_a_dash_means_the_services_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "visage.audit"):
        audit_of("-").record(key="k1", **LINE)
    (record,) = caplog.records
    assert (record.message, record.__dict__["key"], record.__dict__["status"]) == ("audit", "k1", 201)


def test_nothing_is_kept_where_nothing_was_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        audit_of(None).record(key="k1", **LINE)
    assert not [record for record in caplog.records if record.name == "visage.audit"]


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AUDIT_LOG="):
        audit_of(str(tmp_path / "absent" / "audit.jsonl"))


def test_a_place_that_vanishes_later_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = audit_of(str(folder / "audit.jsonl"))
    (folder / "audit.jsonl").unlink()
    folder.rmdir()
    audit.record(key="k1", **LINE)
    assert '"key": "k1"' in caplog.text and "AUDIT_LOG" in caplog.text
