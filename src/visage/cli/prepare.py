"""Make everything ready that a start would otherwise have to."""

import argparse
import asyncio
import logging
import time

from visage import logs, runtime
from visage.settings import Settings

ABOUT = "Prepare the networks named by the settings and compile what is compiled, then exit."

log = logging.getLogger("visage.prepare")


class _Silent:
    """Nobody watches a preparation."""

    def image(self, outcome: object, /) -> None: ...

    def stage(self, name: str, seconds: float, /) -> None: ...

    def batch(self, stage: str, size: int, /) -> None: ...


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--again", action="store_true", help="measure engines although a choice is remembered")


def run(given: argparse.Namespace) -> int:
    settings, said = Settings.load()
    logs.configure(settings.log_level, settings.log_format)
    for line in said:
        log.warning(line)
    started = time.monotonic()
    engines = runtime.choose_engines(settings, runtime.prepare(settings), again=given.again)
    opened = runtime.open_runtime(settings, _Silent(), engines)
    asyncio.run(opened.aclose())
    log.info("prepared in %.1f s", time.monotonic() - started)
    return 0
