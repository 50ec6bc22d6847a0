"""`visage serve | prepare | models | doctor | triton-repo | collections | evaluate | keys`."""

import argparse
import sys
from importlib import import_module
from types import ModuleType

from visage import __version__
from visage.errors import VisageError

COMMANDS = ("serve", "prepare", "models", "doctor", "triton-repo", "collections", "evaluate", "keys")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a failure that has a name is one line on standard error and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="visage", description="Face detection and recognition as a REST service.")
    parser.add_argument("--version", action="version", version=f"visage {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    # What is not asked for is not imported: a service is not to wait for what only other commands need.
    asked = arguments[:1]
    named = () if asked == ["--version"] else [name for name in COMMANDS if name in asked] or COMMANDS
    modules = {name: _module(name) for name in named}
    for name, module in modules.items():
        command = commands.add_parser(
            name, help=module.ABOUT, description=module.ABOUT + " Settings come from the environment."
        )
        if hasattr(module, "arguments"):
            module.arguments(command)
    chosen = parser.parse_args(arguments)
    try:
        return int(modules[chosen.command].run(chosen))
    except VisageError as error:
        print(f"visage: {error.title}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _module(command: str) -> ModuleType:
    return import_module(f"visage.cli.{command.replace('-', '_')}")


if __name__ == "__main__":
    sys.exit(main())
