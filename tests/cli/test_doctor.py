"""`visage doctor` as an operator types it."""

import json
from pathlib import Path

import pytest

from visage.__main__ import main


@pytest.mark.parametrize(("name", "status"), [("yunet", 0), ("scrfd_10g_bnkps", 1)])
def test_its_status_tells_whether_a_start_would_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, status: int
) -> None:
    for key, value in {"MODELS_DIR": str(tmp_path), "PORT": "0", "DET_NAME": name, "KEEP_ALL": "True"}.items():
        monkeypatch.setenv(key, value)
    assert main(["doctor"]) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["about", "found"]
    assert [line for line in lines if line.startswith("NO")] == [line for line in lines if "not accepted" in line]
    assert any(line.startswith("hm") and "KEEP_ALL" in line for line in lines)  # the settings' remarks

    assert main(["doctor", "--json"]) == status
    told = json.loads(capsys.readouterr().out)
    assert {"about", "verdict", "what", "remedy"} == set(told[0])


def test_settings_that_cannot_be_read_are_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAX_SIZE", "large")
    assert main(["doctor", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["about"], told["verdict"]) == ("settings", "bad") and told["what"].startswith("MAX_SIZE='large'")
