"""Who changed what, when: one JSON line a write."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from visage.errors import ConfigurationError

log = logging.getLogger("visage.audit")

SERVICE_LOG = "-"
_OWNER_ONLY = 0o600


class Audit(Protocol):
    """`key`: the key's id, None where there was none that is valid."""

    def record(self, *, key: str | None, method: str, path: str, status: int, request_id: str) -> None: ...


class NoAudit:
    def record(self, *, key: str | None, method: str, path: str, status: int, request_id: str) -> None:
        pass


class LogAudit:
    """Lines among those of the service's log."""

    def record(self, *, key: str | None, method: str, path: str, status: int, request_id: str) -> None:
        said = {"key": key, "method": method, "path": path, "status": status, "request_id": request_id}
        log.info("audit", extra=said)


class FileAudit:
    """Lines at the end of a file, which several processes may share and others may move away (rotation).

    Raises ConfigurationError where it cannot be written when the service starts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._append(b"")
        except OSError as exc:
            raise ConfigurationError(f"AUDIT_LOG={path} cannot be written: {exc.strerror}") from exc

    def record(self, *, key: str | None, method: str, path: str, status: int, request_id: str) -> None:
        said = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "key": key,
            "method": method,
            "path": path,
            "status": status,
            "request_id": request_id,
        }
        try:
            self._append(json.dumps(said).encode() + b"\n")
        except OSError as exc:  # the write is done and its answer sent: what is left is to say it elsewhere
            log.error("AUDIT_LOG cannot be written: %s; the line was %s", exc.strerror, json.dumps(said))

    def _append(self, line: bytes) -> None:
        """In one call of the system: lines of several processes do not mix."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def audit_of(where: str | None) -> Audit:
    """None: nothing is kept; `-`: the service's log; else a file."""
    if where is None:
        return NoAudit()
    return LogAudit() if where == SERVICE_LOG else FileAudit(Path(where))
