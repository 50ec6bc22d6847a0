"""How the service's log looks: one line an event, `key=value` or JSON, on standard error."""

import logging
import logging.config
from typing import Any

import structlog


def configure(level: str, form: str) -> None:
    """Send this package's, uvicorn's and Python's own warnings' lines through one formatter."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    if form == "json":
        last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [_text]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                }
            },
            "filters": {"told": {"()": _Told}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "visage": {"level": level},
                "visage.audit": {"level": "INFO"},  # who asks for it wants it, however quiet the rest is
                "uvicorn": {"handlers": [], "propagate": True, "level": "WARNING"},
                "uvicorn.error": {"handlers": [], "propagate": True, "level": "WARNING", "filters": ["told"]},
                "uvicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:2],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)


class _Told(logging.Filter):
    """Without what the door has told already, with the request's id and the reason."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg != "ASGI callable returned without completing response."


_plain = structlog.processors.KeyValueRenderer(sort_keys=False, repr_native_str=False)


def _text(logger: Any, name: str, event: Any) -> str:
    """time level message key=value …; a traceback follows on its own lines."""
    event = dict(structlog.processors.format_exc_info(logger, name, event))
    head = f"{event.pop('timestamp', '')} {event.pop('level', ''):<7} {event.pop('event', '')}"
    trace = event.pop("exception", "")
    rest = str(_plain(logger, name, event)) if event else ""
    return "\n".join(part for part in (_one_line(f"{head} {rest}".rstrip()), trace) if part)


def _one_line(text: str) -> str:
    """Control characters escaped: what a caller sent must not look like a line of ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
