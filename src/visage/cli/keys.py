"""The keys of AUTH=keys: make one, list them, hand them on, take one back."""

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from visage.access.audit import SERVICE_LOG, Audit, audit_of
from visage.access.keyfile import KeyFile
from visage.access.keylist import line_of
from visage.access.keys import SCOPES, Key, rate_of, scopes_of
from visage.cli import table
from visage.errors import ConfigurationError
from visage.search.names import hold_collection
from visage.settings import Settings

ABOUT = "Add, list, export and revoke the keys that AUTH=keys asks for."


_LONGEST = 128  # characters of a key's name


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run_keys=run)
        return made

    adding = command("add", _add, "Make a key and print its secret, this once.")
    adding.add_argument("name", help="what it is for, as people say it")
    adding.add_argument(
        "--scopes", default="read", help=f"{', '.join(SCOPES)}, separated by commas; admin holds the others (read)"
    )
    adding.add_argument("--collections", default="", help="only these collections, separated by commas (all)")
    adding.add_argument("--rate", default="", help="requests a minute, as 60/min (any number)")
    listing = command("list", _list, "Every key and when it was last used; no secret.")
    listing.add_argument("--json", action="store_true", help="for programs")
    command("export", _export, "Write every valid key as a line for AUTH_KEYS_FILE: its hash, not its secret.")
    command("revoke", _revoke, "Take a key back; a running service knows at its next request.").add_argument(
        "key", help="its name or id"
    )


def run(given: argparse.Namespace) -> int:
    return int(given.run_keys(given))


def _file(settings: Settings) -> KeyFile:
    return KeyFile(settings.data_dir)


def _audit(settings: Settings) -> Audit:
    """The audit log, where that is a file: the service's own log is not this command's.

    It is opened before a key is made or taken back: what cannot be told must not be done.
    """
    return audit_of(None if settings.audit_log == SERVICE_LOG else settings.audit_log)


def _told(audit: Audit, what: str, key: Key) -> None:
    audit.record(key=key.id, method=f"keys {what}", path=key.name, status=200, request_id=getpass.getuser())


def _add(given: argparse.Namespace) -> int:
    name = given.name.strip()
    if not name or not name.isprintable() or len(name) > _LONGEST:
        raise ConfigurationError(
            f"a key needs a name of 1 to {_LONGEST} printable characters, which says what it is for"
        )
    scopes, rate = scopes_of(_words(given.scopes)), _rate_of(given.rate)
    collections = _words(given.collections)
    for collection in collections:
        hold_collection(collection)
    if given.collections and not collections:
        raise ConfigurationError(f"--collections {given.collections!r} names none; leave it out for all of them")
    settings = Settings.load()[0]
    file = _file(settings)
    file.make()  # the audit log may be in its folder
    audit = _audit(settings)
    key, secret = file.add(name, scopes, collections=frozenset(collections), rate=rate)
    _told(audit, "add", key)
    print(secret)
    print(
        f"{key.id} {_rights(key)}. The line above is the key: it is kept nowhere and cannot be shown again.",
        file=sys.stderr,
    )
    return 0


def _list(given: argparse.Namespace) -> int:
    keys = _file(Settings.load()[0]).all()
    if given.json:
        print(json.dumps([_shown(key) for key in keys], indent=2))
        return 0
    head = ("id", "name", "scopes", "collections", "rate", "created", "last used", "revoked")
    rows = [[_cell(value) for value in _shown(key).values()] for key in keys]
    print(table.lines(head, rows) if keys else "no keys yet: visage keys add NAME --scopes read,write")
    return 0


def _export(given: argparse.Namespace) -> int:
    for key in _file(Settings.load()[0]).all():
        if key.revoked is None:
            print(line_of(key))
    return 0


def _revoke(given: argparse.Namespace) -> int:
    settings = Settings.load()[0]
    file = _file(settings)
    key = file.valid(given.key)
    audit = _audit(settings)
    file.revoke(key.id)
    _told(audit, "revoke", key)
    print(f"{key.id} ({key.name}) is revoked")
    return 0


def _rate_of(text: str) -> int:
    """Nought is any number in files of keys; whoever types it may mean the opposite. Raises ConfigurationError."""
    rate = rate_of(text)
    if text.strip() and not rate:
        raise ConfigurationError(
            f"--rate {text}: a key that may ask nothing is none; give 1/min or more, or leave --rate out for any number"
        )
    return rate


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _rights(key: Key) -> str:
    where = f" in {', '.join(sorted(key.collections))}" if key.collections else ""
    often = f", {key.rate} requests a minute" if key.rate else ""
    return f"may {', '.join(sorted(key.scopes))}{where}{often}"


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "collections": sorted(key.collections),
        "rate": key.rate or None,
        "created": _time(key.created),
        "used": _time(key.used),
        "revoked": _time(key.revoked),
    }


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value) or "all"
    return "–" if value is None else str(value)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
