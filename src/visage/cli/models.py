"""The models folder by hand: what there is, fetch it, check it, bring a file of one's own."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from visage.choice import chosen_names
from visage.cli import convert, prune, table
from visage.cli.beginning import began
from visage.errors import VisageError
from visage.runtime import model_file, open_store, try_model
from visage.zoo import licences
from visage.zoo.catalogue import PUBLISHED_PACKS, Catalogue, Entry, LocalFile, PackageFile
from visage.zoo.hashes import expected, is_known
from visage.zoo.inventory import bytes_of, checked, state_of
from visage.zoo.packs import ADDRESSES, PACK_LICENCE
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import pull_archive
from visage.zoo.store import Store

ABOUT = "List, fetch, check and import networks."

log = logging.getLogger("visage.models")


class _Zoo:
    """What every command works on."""

    def __init__(self) -> None:
        self.settings = began(log)
        self.catalogue: Catalogue = read_catalogue(self.settings.models_dir)
        self.store: Store = open_store(self.settings, self.catalogue)

    def licence(self, entry: Entry) -> str:
        asks = licences.needs_acceptance(entry.licence.id) and entry.licence.id not in self.settings.accept_licences
        return f"{entry.licence.id} (to be accepted)" if asks else entry.licence.id

    def named(self, name: str) -> list[Entry]:
        """The model `name`, or those of the pack `name`. Raises UnknownModel."""
        pack = None if name in self.catalogue.entries else self.catalogue.packs.get(name)
        return [self.catalogue[name]] if pack is None else list(pack().values())


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run_models=run)
        return made

    listing = command("list", _list, "Every network that a setting can name.")
    listing.add_argument("--json", action="store_true", help="for programs")
    command("info", _info, "All that is known of a network.").add_argument("name")
    pulling = command("pull", _pull, "Fetch and prepare networks; without names those that the settings name.")
    pulling.add_argument("names", nargs="*", metavar="name")
    pulling.add_argument("--again", action="store_true", help="fetch even what is there")
    checking = command("verify", _verify, "Hold the files that are there against their hashes.")
    checking.add_argument("names", nargs="*", metavar="name")
    importing = command("import", _import, "Take a file of your own for a network, whatever the catalogue's hash.")
    importing.add_argument("name")
    importing.add_argument("file", type=Path)
    convert.arguments(command("convert", _convert, "Write a network in another form, proved against the original."))
    about = "Delete TensorRT's engines of other versions than the one here, and those of files that are gone."
    prune.arguments(command("prune", _prune, about))
    command("licences", _licences, "The licences of the weights, what they mean and whether they are accepted.")


def run(given: argparse.Namespace) -> int:
    return int(given.run_models(given))


def _list(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    entries = zoo.catalogue.every().values()
    if given.json:
        rows = [
            {
                **entry.model_dump(mode="json", exclude_defaults=True),
                "task": entry.task,
                "state": state_of(entry, zoo.store),
            }
            for entry in entries
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    print(
        table.lines(
            ("name", "task", "licence", "file", "MB"),
            [(e.name, e.task, zoo.licence(e), state_of(e, zoo.store), bytes_of(e, zoo.store)) for e in entries],
        )
    )
    return 0


def _info(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    print("\n\n".join(_told(zoo, entry) for entry in zoo.named(given.name)))
    return 0


def _told(zoo: _Zoo, entry: Entry) -> str:
    note = zoo.store.note(entry.name)
    told: list[tuple[str, object]] = [
        ("name", entry.name),
        ("description", entry.description),
        ("task", f"{entry.task}, family {entry.family}"),
        ("input", _input(entry)),
        ("licence", f"{zoo.licence(entry)}: {entry.licence.note or licences.MEANINGS.get(entry.licence.id, '')}"),
        ("file", f"{state_of(entry, zoo.store)}: {zoo.store.path(entry.name)}"),
        *[("source", place.model_dump(exclude_none=True)) for place in entry.sources],
        ("hash", expected(entry) or ("of its sources" if is_known(entry) else "unknown: unverified")),
        ("recorded", note.get("sha256")),
        ("threshold", _threshold(entry)),
        *[("figure", f"{f.what}: {f.value:g} {f.unit} ({f.source})") for f in entry.figures],
        ("note", entry.note),
    ]
    return "\n".join(f"{key:12} {' '.join(str(value).split())}" for key, value in told if value not in (None, ""))


def _threshold(entry: Entry) -> str | None:
    if entry.threshold is None:
        return None
    return f"{entry.threshold:g}" + (f", found on {entry.threshold_data}" if entry.threshold_data else "")


def _input(entry: Entry) -> str:
    fed = entry.fed()
    size = entry.input.size if entry.input else None
    sides = f"{size[0]}×{size[1]}" if size else "any size, multiples of 32" if entry.input else "as the file says"
    return f"{sides}, {fed.colours}, {fed.layout}, (x - {fed.mean:g}) / {fed.std:g}, batch: {entry.batch}"


def _pull(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    names = given.names or chosen_names(zoo.settings, zoo.catalogue)
    return _each(names, lambda name: _pull_one(zoo, name, again=given.again))


def _pull_one(zoo: _Zoo, name: str, *, again: bool) -> str:
    if name in PUBLISHED_PACKS and (again or name not in zoo.catalogue.packs):
        licences.require(name, PACK_LICENCE, zoo.settings.accept_licences)
        pull_archive(name, [address.format(name=name) for address in ADDRESSES], zoo.store.fetching)
        zoo.catalogue = read_catalogue(zoo.settings.models_dir)
    ready = {
        entry.name: zoo.store.fetch_anew(entry) if again and _is_fetched(entry) else zoo.store.prepare(entry)
        for entry in zoo.named(name)
    }
    return "; ".join(
        f"{file.path} ({'verified' if file.verified else 'unverified'}, sha256 {file.sha256})"
        for file in ready.values()
    )


def _is_fetched(entry: Entry) -> bool:
    return bool(entry.sources) and not isinstance(entry.sources[0], PackageFile | LocalFile)


def _verify(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    every = zoo.catalogue.every()
    names = given.names or [name for name, entry in every.items() if state_of(entry, zoo.store).here]
    return _each(names, lambda name: "; ".join(checked(entry, zoo.store) for entry in zoo.named(name)))


def _import(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    entry = zoo.catalogue[given.name]
    numbers: list[float] = []
    ready = zoo.store.import_file(entry, given.file, lambda path: numbers.extend(try_model(entry, path, zoo.settings)))
    known = "the catalogue's own" if ready.verified else "not the catalogue's"
    print(f"{entry.name}: {given.file} is in its place, {known}; sha256 {ready.sha256}")
    print(f"{'':{len(entry.name)}}  on the self-test picture: {', '.join(f'{x:.4f}' for x in numbers) or 'no face'}")
    return 0


def _convert(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    entry = zoo.catalogue[given.name]
    ready = zoo.store.prepare(entry)
    target = given.out or Path(f"{entry.name}.{convert.SUFFIXES[given.to]}")
    print(f"{entry.name}: {target}, {convert.convert(entry, model_file(zoo.settings, entry, ready), given.to, target)}")
    return 0


def _prune(given: argparse.Namespace) -> int:
    zoo = _Zoo()
    for line in prune.prune(list(zoo.catalogue.every().values()), zoo.store, dry=given.dry_run):
        print(line, flush=True)
    return 0


def _licences(_: argparse.Namespace) -> int:
    zoo = _Zoo()
    by_id: dict[str, list[str]] = {}
    for entry in zoo.catalogue.every().values():
        by_id.setdefault(entry.licence.id, []).append(entry.name)
    for licence, names in by_id.items():
        state = f"to use it set ACCEPT_LICENCES={licence}"
        if not licences.needs_acceptance(licence):
            state = "nothing to accept"
        elif licence in zoo.settings.accept_licences:
            state = "accepted"
        print(f"{licence}: {licences.MEANINGS.get(licence, 'unknown here')}\n    {state}\n    {', '.join(names)}")
    return 0


def _each(names: Sequence[str], work: Callable[[str], str]) -> int:
    """One line a model; those that fail are told and the others are done all the same."""
    failed = 0
    for name in names:
        try:
            print(f"{name}: {work(name)}", flush=True)
        except VisageError as error:
            failed += 1
            print(f"visage: {error.title}: {_named(name, error)}", file=sys.stderr)
    return 1 if failed else 0


def _named(name: str, error: VisageError) -> str:
    return str(error) if name in str(error) else f"{name}: {error}"
