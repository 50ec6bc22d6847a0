"""Make everything ready that a start would otherwise have to."""

import argparse
import asyncio
import logging
import os
import time

from visage import runtime
from visage.cli.beginning import began
from visage.search.embedded.ranking import compile_kernels

ABOUT = "Prepare the networks named by the settings and compile what is compiled, then exit."

log = logging.getLogger("visage.prepare")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", metavar="NAME", help="what is to compute the networks, instead of INFERENCE_BACKEND"
    )
    parser.add_argument("--again", action="store_true", help="measure engines although a choice is remembered")


def run(given: argparse.Namespace) -> int:
    chosen = {"INFERENCE_BACKEND": given.backend} if given.backend else {}
    settings = began(log, {**os.environ, **chosen})
    started = time.monotonic()
    engines = runtime.choose_engines(settings, runtime.prepare(settings), again=given.again)
    opened = runtime.open_runtime(settings, runtime.Unwatched(), engines)
    asyncio.run(opened.aclose())
    compile_kernels()
    log.info("prepared in %.1f s", time.monotonic() - started)
    return 0
