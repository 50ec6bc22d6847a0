"""Every engine that computes the same, measured in turns."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import cv2
import numpy as np

from visage.backends import ORACLE
from visage.backends.base import ModelFile, OpenSession, Session, run_in_batches
from visage.engines.agreement import require_same
from visage.engines.standing import Standing, Timing, score
from visage.errors import InferenceFailed
from visage.faces import Pixels

log = logging.getLogger(__name__)

# A change of engine, be it from the oracle or from the one before, must pay this much: less is the weather.
WORTH_A_CHANGE = 1.08

# For each case and engine, but at least so many rounds and at most so many.
SECONDS = 0.2
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 25


@dataclass(frozen=True, slots=True)
class Work:
    """What the service will ask of a network: pictures of `size` (width, height), so many in a run."""

    size: tuple[int, int]
    batches: tuple[int, ...]


def race(
    model: ModelFile,
    contenders: Mapping[str, OpenSession],
    work: Work,
    picture: Pixels,
    incumbent: str = ORACLE,
    seconds: float = SECONDS,
) -> Standing:
    """The engine to use: `incumbent`, unless another is faster by WORTH_A_CHANGE.

    Each is measured on all of the model's threads, and on one. `contenders` holds the oracle; one that answers
    otherwise on `picture` uint8 (h, w, 3) or on noise, or raises, is dropped with a line in the log. Raises what the
    oracle raises. `seconds`: for each engine and case.
    """
    running = dict(contenders)
    timings: dict[str, list[Timing]] = {name: [] for name in running}
    for threads in dict.fromkeys((model.threads, 1)):
        with ExitStack() as opened:
            sessions = _agreeing(replace(model, threads=threads), running, work, picture, opened)
            for batch in _batches(sessions[ORACLE], work):
                pixels = _samples(picture, sessions[ORACLE].sizes.fixed or work.size, batch)
                for name, (ms, spread) in _measured(model.name, sessions, pixels, seconds).items():
                    timings[name].append(Timing(threads, batch, ms, spread))
            running = {name: opener for name, opener in running.items() if name in sessions}
    found = {name: tuple(timings[name]) for name in running}
    scores = {name: score(times) for name, times in found.items()}
    holder = incumbent if incumbent in scores else ORACLE
    best = min(scores, key=lambda name: scores[name])
    winner = best if scores[holder] >= WORTH_A_CHANGE * scores[best] else holder
    told = ", ".join(f"{name} {ms:.2f} ms" for name, ms in scores.items())
    log.info("%s is computed by %s (%s a run in the mean of its cases)", model.name, winner, told)
    return Standing(winner, "measured", found)


def _agreeing(
    model: ModelFile, contenders: Mapping[str, OpenSession], work: Work, picture: Pixels, opened: ExitStack
) -> dict[str, Session]:
    """Sessions of those that answer as the oracle does, which is the first of them."""
    oracle = opened.enter_context(closing(contenders[ORACLE](model)))
    samples = _samples(picture, oracle.sizes.fixed or work.size, 2)
    expected = run_in_batches(oracle, samples)
    sessions: dict[str, Session] = {ORACLE: oracle}
    for name, opener in contenders.items():
        if name == ORACLE:
            continue
        try:
            session = opened.enter_context(closing(opener(model)))
            _require_alike(oracle, session, work)
            for answer, other in zip(expected, run_in_batches(session, samples), strict=True):
                require_same(answer, other, half=model.means.fp16)
        except Exception as exc:  # another's library, which may raise what it likes: the oracle is there all the same
            _dropped(model.name, name, exc)
        else:
            sessions[name] = session
    return sessions


def _require_alike(oracle: Session, other: Session, work: Work) -> None:
    """It must take what the oracle takes of this work; engines that are built for shapes take no more."""
    sizes = [(s.sizes.fixed, s.sizes.stride, s.sizes.nearest(work.size), _batches(s, work)) for s in (oracle, other)]
    if sizes[0] != sizes[1]:
        raise InferenceFailed(f"it takes {other.sizes} in batches of {other.max_batch or 'any number'}")


def _measured(
    model: str, sessions: dict[str, Session], pixels: Pixels, budget: float
) -> dict[str, tuple[float, float]]:
    """Median milliseconds and spread of each, in turns so that a machine whose speed drifts drifts for all.

    One that raises leaves `sessions`, unless it is the oracle.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    until, rounds = 0.0, -1  # the first round warms up
    while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and time.perf_counter() < until):
        for name, session in list(sessions.items()):
            started = time.perf_counter()
            try:
                session.run(pixels)
            except Exception as exc:  # as above
                if name == ORACLE:
                    raise
                _dropped(model, name, exc)
                del sessions[name]
                continue
            if rounds >= 0:
                seconds[name].append(time.perf_counter() - started)
        if rounds < 0:
            until = time.perf_counter() + budget * len(sessions)
        rounds += 1
    return {name: _middle(seconds[name]) for name in sessions}


def _middle(seconds: Sequence[float]) -> tuple[float, float]:
    low, median, high = np.percentile(seconds, (25, 50, 75))
    return round(float(median) * 1000, 3), round(float((high - low) / median), 3)


def _dropped(model: str, engine: str, exc: Exception) -> None:
    said = str(exc).partition("\n")[0] or type(exc).__name__
    log.warning("%s is not computed by %s, which does not answer as %s does: %s", model, engine, ORACLE, said)


def _batches(session: Session, work: Work) -> list[int]:
    most = session.max_batch or max(work.batches)
    return sorted({min(batch, most) for batch in work.batches})


def _samples(picture: Pixels, size: tuple[int, int], count: int) -> Pixels:
    """uint8 (count, h, w, 3): the picture, then noise."""
    width, height = size
    samples: Pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    samples[0] = cv2.resize(picture, size)
    return samples
