"""`visage serve | prepare | models | doctor | triton-repo | collections | evaluate | keys`."""

import argparse
import sys
from types import ModuleType

from visage import __version__
from visage.cli import collections, doctor, evaluate, keys, models, prepare, serve, triton_repo
from visage.errors import VisageError

COMMANDS: dict[str, ModuleType] = {
    "serve": serve,
    "prepare": prepare,
    "models": models,
    "doctor": doctor,
    "triton-repo": triton_repo,
    "collections": collections,
    "evaluate": evaluate,
    "keys": keys,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a failure that has a name is one line on standard error and exit status 1."""
    parser = argparse.ArgumentParser(prog="visage", description="Face detection and recognition as a REST service.")
    parser.add_argument("--version", action="version", version=f"visage {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name, help=module.ABOUT, description=module.ABOUT + " Settings come from the environment."
        )
        if hasattr(module, "arguments"):
            module.arguments(command)
    chosen = parser.parse_args(arguments)
    try:
        return int(COMMANDS[chosen.command].run(chosen))
    except VisageError as error:
        print(f"visage: {error.title}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
