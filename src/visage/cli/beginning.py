"""What commands begin with."""

import logging
from collections.abc import Mapping

from visage import logs
from visage.settings import Settings


def began(log: logging.Logger, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings, and a log as they want it, which tells what is to be said about them."""
    settings, said = Settings.load(environ)
    logs.configure(settings.log_level, settings.log_format)
    for line in said:
        log.warning(line)
    return settings
