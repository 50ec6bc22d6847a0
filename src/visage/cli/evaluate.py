"""How well the recogniser tells persons apart, on pairs of pictures of one's own, and from which similarity on."""

import argparse
import asyncio
import csv
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from visage import calibration
from visage.calibration import Judged, Spread
from visage.cli import plots
from visage.cli.beginning import began
from visage.cli.table import lines
from visage.deadline import Deadline
from visage.errors import ConfigurationError, ImageError
from visage.faces import Floats, Outcome
from visage.images.fetching import Raw
from visage.options import ExtractOptions
from visage.runtime import Runtime, Unwatched, choose_engines, open_runtime, prepare
from visage.settings import Settings

ABOUT = "Judge the recogniser on labelled pairs of pictures, and find its threshold."

log = logging.getLogger("visage.evaluate")

_TOGETHER = 8  # pictures at a time
_TOLD = 5  # pictures that are told by name
_SECONDS = 600.0  # for so many


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures by their names in the file, and whether they show one person; `persons` where the file says."""

    a: str
    b: str
    same: bool
    persons: tuple[str, str] | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pairs", type=Path, help="CSV with a header: imageA, imageB, same (1 or 0), and who it is: idA, idB"
    )
    parser.add_argument("--images", type=Path, help="folder that the pictures' names count from; default the file's")
    parser.add_argument("--plots", type=Path, help="folder to write roc.png and scores.png into")
    parser.add_argument("--aligned", action="store_true", help="the pictures are aligned 112×112 crops")
    parser.add_argument(
        "--every-pair",
        action="store_true",
        help="judge every two of the pictures, by idA and idB, not the file's pairs",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(given: argparse.Namespace) -> int:
    settings = began(log)
    if given.plots is not None:
        plots.needed()  # before the work: without the package there is nothing to wait for
    pairs = every_pair(read_pairs(given.pairs)) if given.every_pair else read_pairs(given.pairs)
    folder = given.images or given.pairs.parent
    hold_pictures(pairs, folder)  # before networks are loaded for nothing
    vectors, failed, model = asyncio.run(_embedded(settings, pairs, folder, aligned=given.aligned))
    used = [pair for pair in pairs if pair.a in vectors and pair.b in vectors]
    report = _evaluated(used, vectors, failed)
    report |= {"model": model, "unread": failed, "pairs_left_out": len(pairs) - len(used)}
    if given.plots is not None:
        plots.write(judged(used, vectors), report, given.plots)
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if given.json else told(report))
    return 0


def hold_pictures(pairs: Sequence[Pair], folder: Path) -> None:
    """Raises ConfigurationError where none of the pictures is there."""
    names = _names(pairs)
    if not any((folder / name).is_file() for name in names):
        raise ConfigurationError(
            f"none of the {len(names)} pictures is in {folder}: {_first(names)}; --images names another folder"
        )


def _evaluated(pairs: Sequence[Pair], vectors: Mapping[str, Floats], failed: Mapping[str, str]) -> dict[str, Any]:
    """Raises ConfigurationError, which says what pictures were left out."""
    try:
        return evaluated(pairs, vectors)
    except ConfigurationError as error:
        if not failed:
            raise
        left_out = _first([f"{name} ({why})" for name, why in failed.items()])
        raise ConfigurationError(f"{error}; {len(failed)} pictures could not be used: {left_out}") from error


def _names(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))


def _first(told: Sequence[str]) -> str:
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more


def read_pairs(path: Path) -> list[Pair]:
    """Raises ConfigurationError that names the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}") from exc
    if not rows:
        raise ConfigurationError(f"{path} has no pairs: a line each under the header imageA,imageB,same,idA,idB")
    return [_pair(path, number, row) for number, row in enumerate(rows, 2)]


def _pair(path: Path, number: int, row: Mapping[str, str | None]) -> Pair:
    a, b, same = row.get("imageA"), row.get("imageB"), row.get("same")
    if not a or not b or same not in ("0", "1"):
        raise ConfigurationError(f"{path}, line {number}: imageA, imageB and same (1 or 0) are needed")
    one, other = row.get("idA"), row.get("idB")
    return Pair(a, b, same == "1", (one, other) if one and other else None)


def every_pair(pairs: Sequence[Pair]) -> list[Pair]:
    """Every two of the pictures. Raises ConfigurationError where it is not said of all who they are."""
    persons: dict[str, str] = {}
    for pair in pairs:
        if pair.persons is None:
            raise ConfigurationError("for every pair it must be known who is who: the columns idA and idB are needed")
        persons |= zip((pair.a, pair.b), pair.persons, strict=True)
    return [Pair(a, b, one == other, (one, other)) for (a, one), (b, other) in combinations(sorted(persons.items()), 2)]


async def _embedded(
    settings: Settings, pairs: Sequence[Pair], folder: Path, *, aligned: bool
) -> tuple[dict[str, Floats], dict[str, str], str]:
    """The vector of each picture's largest face, what was wrong with the others, and the networks' names."""
    names = _names(pairs)
    runtime = open_runtime(settings, Unwatched(), choose_engines(settings, prepare(settings)))
    try:
        model = runtime.networks.answering().get("rec")
        if model is None:
            raise ConfigurationError("REC_NAME names no network: there is nothing to be judged")
        vectors: dict[str, Floats] = {}
        failed: dict[str, str] = {}
        for start in range(0, len(names), _TOGETHER):
            for name, found in await _some(runtime, settings, names[start : start + _TOGETHER], folder, aligned):
                if isinstance(found, str):
                    failed[name] = found
                else:
                    vectors[name] = found
        return vectors, failed, model.described()
    finally:
        await runtime.aclose()


async def _some(
    runtime: Runtime, settings: Settings, names: Sequence[str], folder: Path, aligned: bool
) -> list[tuple[str, Floats | str]]:
    options = ExtractOptions(threshold=settings.def_det_thresh, limit_faces=1)
    there = {name: folder / name for name in names}
    readable = [name for name, path in there.items() if path.is_file()]
    sources = [Raw(await asyncio.to_thread(there[name].read_bytes)) for name in readable]
    outcomes = await runtime.service.extract(sources, options, Deadline(_SECONDS), crops=aligned)
    found = dict(zip(readable, map(_vector, outcomes), strict=True))
    return [(name, found.get(name, "not found")) for name in names]


def _vector(outcome: Outcome) -> Floats | str:
    """Of the largest face; or why there is none."""
    if isinstance(outcome.result, ImageError):
        return str(outcome.result)
    if not outcome.result.faces or outcome.result.faces[0].embedding is None:
        return "no face was found"
    return outcome.result.faces[0].embedding.vector


def judged(pairs: Sequence[Pair], vectors: Mapping[str, Floats]) -> Judged:
    scores = np.array([np.dot(vectors[pair.a], vectors[pair.b]) for pair in pairs], np.float64)
    if all(pair.persons for pair in pairs):
        persons = tuple(pair.persons for pair in pairs if pair.persons)
    else:
        persons = calibration.persons_of([(pair.a, pair.b, pair.same) for pair in pairs])
    return Judged(scores, np.array([pair.same for pair in pairs], bool), persons)


def evaluated(pairs: Sequence[Pair], vectors: Mapping[str, Floats]) -> dict[str, Any]:
    """Everything that is found out. Raises ConfigurationError where pairs of a kind are missing."""
    scores = judged(pairs, vectors)
    try:
        threshold = calibration.best_threshold(scores)
    except ValueError as exc:
        raise ConfigurationError(f"of the pairs whose faces were found: {exc}") from exc
    left_out = calibration.spread(scores)
    return {
        "pictures": len({name for pair in pairs for name in (pair.a, pair.b)}),
        "pairs": len(pairs),
        "pairs_of_one": int(scores.same.sum()),
        "pairs_of_two": int((~scores.same).sum()),
        "roc_auc": calibration.roc_auc(scores),
        "threshold": threshold,
        "accuracy": calibration.accuracy(scores, threshold),
        "tar_at_far": [asdict(one) for one in calibration.true_accepts(scores)],
        "leaving_persons_out": None if left_out is None else _spread(left_out),
    }


def _spread(found: Spread) -> dict[str, Any]:
    return {
        "persons": found.persons,
        "times": len(found.thresholds),
        "accuracy": found.accuracy,
        "threshold_least": min(found.thresholds),
        "threshold_mean": found.mean,
        "threshold_most": max(found.thresholds),
        "threshold_deviation": found.deviation,
    }


def told(report: Mapping[str, Any]) -> str:
    """The report as text."""
    rows: list[tuple[str, str]] = [
        ("recogniser", report["model"]),
        ("pictures", str(report["pictures"])),
        ("pairs", f"{report['pairs']}: {report['pairs_of_one']} of one person, {report['pairs_of_two']} of two"),
        ("ROC-AUC", f"{report['roc_auc']:.6f}"),
        ("best threshold", f"{report['threshold']:.4f}"),
        ("accuracy there", f"{report['accuracy']:.4f} (chosen on the same pairs: it flatters)"),
    ]
    rows += [(f"TAR at FAR {at['far']:.0e}", _accepted(at, report["pairs_of_two"])) for at in report["tar_at_far"]]
    rows += _left_out(report["leaving_persons_out"])
    text = "\n".join(f"{name:20} {value}" for name, value in rows) + "\n"
    if report["unread"]:
        table = lines(("picture", "why not"), list(report["unread"].items()))
        text += f"\n{report['pairs_left_out']} pairs were left out:\n{table}\n"
    return text


def _accepted(at: Mapping[str, Any], pairs: int) -> str:
    if at["tar"] is None:
        return f"not to be seen: that takes {round(1 / at['far']):,} pairs of two persons, these are {pairs:,}"
    return f"{at['tar']:.4f} from {at['threshold']:.4f} on"


def _left_out(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return [("leaving persons out", "not possible: too few persons")]
    thresholds = (
        f"threshold {found['threshold_least']:.4f} … {found['threshold_most']:.4f}, "
        f"mean {found['threshold_mean']:.4f}, standard deviation {found['threshold_deviation']:.4f}"
    )
    return [
        ("leaving persons out", f"{found['persons']} persons, {found['times']} times: {thresholds}"),
        ("accuracy on those", f"{found['accuracy']:.4f}"),
    ]
