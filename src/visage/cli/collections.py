"""The galleries by hand: what there is, delete one, take that out of the files, carry one to another store."""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from visage.cli import backup, table
from visage.cli.beginning import began
from visage.cli.offline import embedder
from visage.errors import ConfigurationError
from visage.galleries import open_galleries
from visage.search.base import Store
from visage.search.identity import described
from visage.search.listing import every_collection
from visage.search.migrating import migrate
from visage.search.moving import move
from visage.search.names import hold_collection
from visage.search.places import hold_begun, is_begun
from visage.settings import Settings

ABOUT = "List, compact, delete, back up, restore, move and migrate collections of faces."

log = logging.getLogger("visage.collections")

_NAMED = 20  # persons without a face that are told by name


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True)
    listing = commands.add_parser("list", help="every collection", description="Every collection of a store.")
    listing.set_defaults(run_collections=_list)
    compacting = commands.add_parser(
        "compact",
        help="leave no byte of what was deleted in the files",
        description="Leave no byte of what was deleted in the files; the service may run meanwhile.",
    )
    compacting.set_defaults(run_collections=_compact)
    deleting = commands.add_parser(
        "delete",
        help="delete a collection with all that is in it",
        description="Delete a collection with all that is in it, whatever it is called; the service may run meanwhile.",
    )
    deleting.set_defaults(run_collections=_delete)
    deleting.add_argument("name")
    deleting.add_argument("--yes", action="store_true", help="do it; without, what would be deleted is told")
    for command in (listing, compacting, deleting):
        command.add_argument("--at", metavar="PLACE", help="a folder as DATA_DIR names one, or a store's address")
    moving = commands.add_parser(
        "move",
        help="copy a collection into another store and hold the copy against the original",
        description="Copy a collection into another store and compare counts, vectors and answers. The original stays.",
    )
    moving.set_defaults(run_collections=_move)
    moving.add_argument("name")
    moving.add_argument("--from", dest="source", metavar="PLACE", help="the settings' own unless given")
    moving.add_argument("--to", dest="target", metavar="PLACE", required=True)
    moving.add_argument("--as", dest="new_name", metavar="NAME", help="the copy's name")
    migrating = commands.add_parser(
        "migrate",
        help="embed a collection again with the recogniser that the settings name",
        description="Make a new collection with the vectors of the recogniser that REC_NAME names, from the crops that "
        "were kept (KEEP_CROPS). The original stays.",
    )
    migrating.set_defaults(run_collections=_migrate)
    migrating.add_argument("name")
    migrating.add_argument("--as", dest="new_name", metavar="NAME", required=True, help="the new collection's name")
    migrating.add_argument("--at", metavar="PLACE", help="a folder as DATA_DIR names one, or a store's address")
    backup.arguments(commands)


def run(given: argparse.Namespace) -> int:
    settings = began(log)
    return int(given.run_collections(given, settings))


def _list(given: argparse.Namespace, settings: Settings) -> int:
    if given.at is None and not settings.milvus_uri and not is_begun(settings.galleries_place):
        print(f"no collections yet: there are no galleries in DATA_DIR={settings.data_dir}", file=sys.stderr)
        return 0
    with _opened(given.at, settings) as store:
        rows = [
            (c.name, c.recogniser.name, c.recogniser.dimension, c.precision, c.index, c.persons, c.faces)
            for c in every_collection(store)
        ]
    print(table.lines(("name", "network", "numbers", "precision", "index", "persons", "faces"), rows))
    return 0


def _compact(given: argparse.Namespace, settings: Settings) -> int:
    with _opened(given.at, settings) as store:
        store.compact()
    return 0


def _delete(given: argparse.Namespace, settings: Settings) -> int:
    with _opened(given.at, settings) as store:
        found = store.collection(given.name)
        held = f"{found.persons} persons with {found.faces} faces"
        if not given.yes:
            raise ConfigurationError(f"{given.name} has {held}: say --yes to delete it with them")
        store.drop(given.name)
    print(f"{given.name} is deleted, with {held}; visage collections compact takes them out of the files")
    return 0


def _move(given: argparse.Namespace, settings: Settings) -> int:
    hold_collection(given.new_name or given.name, "" if given.new_name else "; give the copy another one with --as")
    with _opened(given.source, settings) as source, _opened(given.target, settings, made=True) as target:
        moved = move(source, target, given.name, new_name=given.new_name, told=_told)
    print(
        f"{given.new_name or given.name}: {moved.persons} persons with {moved.faces} faces are in {given.target}; "
        f"{moved.asked} questions were answered alike by both"
    )
    return 0


def _migrate(given: argparse.Namespace, settings: Settings) -> int:
    hold_collection(given.new_name)
    with _opened(given.at, settings) as store:
        store.collection(given.name)  # before networks are loaded for nothing
        with embedder(settings) as networks:
            found = migrate(store, given.name, given.new_name, networks.recogniser(), networks.embed, told=_embedded)
        model = store.collection(given.new_name).recogniser
    print(
        f"{given.new_name}: {found.persons} persons with {found.faces} faces, by {described(model)}; "
        f"{found.asked} of them were searched for and found"
    )
    if found.left:
        print(f"faces left out, for no crop was kept of them: {found.left}")
    if found.faceless:
        more = f" and {len(found.faceless) - _NAMED} more" if len(found.faceless) > _NAMED else ""
        print(f"without a face now: {', '.join(found.faceless[:_NAMED])}{more}")
    return 0


def _embedded(persons: int) -> None:
    print(f"{persons} persons embedded", file=sys.stderr, flush=True)


def _told(persons: int) -> None:
    print(f"{persons} persons copied", file=sys.stderr, flush=True)


@contextmanager
def _opened(place: str | None, settings: Settings, *, made: bool = False) -> Iterator[Store]:
    """The settings' own where none is named. `made`: where there is none. Raises ConfigurationError."""
    if not made:
        hold_begun(place or settings.galleries_place)
    store = open_galleries(settings, place)
    try:
        yield store
    finally:
        store.close()
