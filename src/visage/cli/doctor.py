"""What fits here and what does not, before a start stumbles over it."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from visage import logs
from visage.cli import table
from visage.doctor import Finding, findings
from visage.errors import ConfigurationError
from visage.settings import Settings

ABOUT = "Check whether this machine fits the settings; exit status 1 where a start would fail."

_SHOWN = {"good": "ok", "doubtful": "hm", "bad": "NO"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def run(given: argparse.Namespace) -> int:
    found = list(_found())
    if given.json:
        print(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
    else:
        print(table.lines(("", "about", "found"), [(_SHOWN[one.verdict], one.about, _told(one)) for one in found]))
    return 1 if any(one.verdict == "bad" for one in found) else 0


def _found() -> Iterator[Finding]:
    """Of settings that cannot be read nothing further can be said."""
    logs.configure("ERROR", "text")
    try:
        settings, said = Settings.load()
    except ConfigurationError as error:
        yield Finding("settings", "bad", str(error))
        return
    yield from findings(settings)
    yield from (Finding("settings", "doubtful", line) for line in said)


def _told(finding: Finding) -> str:
    return f"{finding.what}; {finding.remedy}" if finding.remedy else finding.what
