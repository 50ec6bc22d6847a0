"""This tree against another commit, side by side: `make compare BASE=<commit>`.

Both services are prepared and started, then asked in turn, in short rounds: ratios of medians, so that a machine whose
speed drifts drifts for both. The other commit gets a work tree and an environment of its own under build/.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import pictures
from benchmarks.serving import REPO, Report, Service, load

ROUNDS = 5
SECONDS = 4.0
CLIENTS = 8


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--base-env", nargs="*", default=[], metavar="NAME=VALUE", help="its settings")
    parser.add_argument("--env", nargs="*", default=[], metavar="NAME=VALUE", help="the settings of this tree")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args(arguments)
    tree, python = checkout(given.base)
    base_env = {"MODELS_DIR": str(tree / "models"), **_pairs(given.base_env)}
    env = {"MODELS_DIR": str(REPO / "models"), **_pairs(given.env)}
    print(f"{os.cpu_count()} cores; base {given.base} {given.base_env or ''}\n")
    print("| picture | clients | base | this tree | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Service(base_env, tree, python) as base, Service(env) as ours:
        for name in ("wide", "one_face"):
            picture = Path(folder) / f"{name}.jpg"
            picture.write_bytes(getattr(pictures, name)())
            for clients in (1, CLIENTS):
                _row(name, clients, *_alternated(base, ours, picture, clients, given.rounds, given.seconds))
    return 0


def checkout(commit: str) -> tuple[Path, Path]:
    """A work tree of `commit` and the Python of its own environment, made once."""
    known = subprocess.run(
        ["git", "rev-parse", "--short", commit], cwd=REPO, check=True, capture_output=True, text=True
    )
    tree = REPO / "build" / "compare" / known.stdout.strip()
    if not tree.is_dir():
        subprocess.run(["git", "worktree", "prune"], cwd=REPO, check=True)
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), commit], cwd=REPO, check=True)
    subprocess.run(["make", "prepare"], cwd=tree, check=True)
    return tree, tree / ".venv" / "bin" / "python"


def _alternated(
    base: Service, ours: Service, picture: Path, clients: int, rounds: int, seconds: float
) -> tuple[list[Report], list[Report]]:
    for service in (base, ours):
        load(service.url, picture, clients, 1)
    pairs = [
        (load(base.url, picture, clients, seconds), load(ours.url, picture, clients, seconds)) for _ in range(rounds)
    ]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _row(name: str, clients: int, base: list[Report], ours: list[Report]) -> None:
    """For one client the time of an answer, for several how many are given a second; the ratio is always the gain."""
    if clients == 1:
        before, after, unit = [r.p50 for r in base], [r.p50 for r in ours], "ms"
        gains = [a / b for a, b in zip(before, after, strict=True)]
    else:
        before, after, unit = [r.rate for r in base], [r.rate for r in ours], "/s"
        gains = [b / a for a, b in zip(before, after, strict=True)]
    a, b, gain = (statistics.median(values) for values in (before, after, gains))
    print(
        f"| {name} | {clients} | {a:.1f} {unit} | {b:.1f} {unit} | {gain:.2f} ({min(gains):.2f}…{max(gains):.2f}) |",
        flush=True,
    )


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


if __name__ == "__main__":
    sys.exit(main())
