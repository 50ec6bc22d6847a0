import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.engines import Engine, clock
from visage.backends.base import Means, ModelFile, Preprocess, Sizes
from visage.engines import race as racing
from visage.engines.race import Work, race
from visage.errors import GraphRejected
from visage.faces import Floats

MODEL = ModelFile("net", Path("net.onnx"), "0" * 64, Preprocess(), threads=2)
WORK = Work((32, 32), (1, 4))
PICTURE = np.full((50, 40, 3), 90, np.uint8)


@pytest.fixture(autouse=True)
def _told_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes any engine the slower one."""
    monkeypatch.setattr(racing, "time", clock)


def run(oracle: Engine, other: Engine, incumbent: str = "onnx") -> Any:
    return race(MODEL, {"onnx": oracle, "other": other}, WORK, PICTURE, incumbent, seconds=0)


@pytest.mark.parametrize(("oracle", "other", "winner"), [(0.004, 0.001, "other"), (0.001, 0.004, "onnx")])
def test_the_faster_engine_computes_the_network(oracle: float, other: float, winner: str) -> None:
    engines = Engine(oracle), Engine(other)
    standing = run(*engines)

    assert (standing.engine, standing.why) == (winner, "measured")
    for engine, name in zip(engines, ("onnx", "other"), strict=True):
        cases = [(timing.threads, timing.batch) for timing in standing.timings[name]]
        assert cases == [(2, 1), (2, 4), (1, 1), (1, 4)]
        assert all((timing.ms, timing.spread) == (engine.slow * 1000, 0) for timing in standing.timings[name])
        assert [threads for threads, _ in engine.opened] == [2, 1]
        assert all(session.closed and {1, 4} <= set(session.runs) for _, session in engine.opened)


def timed(monkeypatch: pytest.MonkeyPatch, **ms: float) -> None:
    """Let the clock say that each engine takes so long."""
    monkeypatch.setattr(racing, "_measured", lambda _, sessions, *__: {name: (ms[name], 0.01) for name in sessions})


@pytest.mark.parametrize(
    ("incumbent", "onnx", "other", "winner"),
    [
        ("onnx", 10.7, 10.0, "onnx"),
        ("onnx", 10.81, 10.0, "other"),
        ("other", 10.0, 10.7, "other"),
        ("other", 10.0, 10.81, "onnx"),
        ("gone", 10.7, 10.0, "onnx"),  # what is no longer here holds nothing
    ],
)
def test_a_change_must_be_worth_eight_hundredths(
    monkeypatch: pytest.MonkeyPatch, incumbent: str, onnx: float, other: float, winner: str
) -> None:
    timed(monkeypatch, onnx=onnx, other=other)
    assert run(Engine(), Engine(), incumbent).engine == winner


def _raises(_: Floats) -> Floats:
    raise OSError("illegal instruction\nat 0x0")


@pytest.mark.parametrize(
    ("bent", "said"),
    [
        (lambda x: x * np.float32(1.01), "output 0 is off by 0.01"),
        (lambda x: np.roll(x, 1, axis=0), "output 0 is off by"),  # one picture's numbers given to another
        (lambda x: x * np.float32(np.nan), "output 0 is off by nan"),
        (lambda x: x[:1], "output 0 has shape"),
        (_raises, "illegal instruction"),
    ],
)
def test_an_engine_that_answers_otherwise_is_dropped_with_a_line_however_fast(
    caplog: pytest.LogCaptureFixture, bent: Any, said: str
) -> None:
    wrong = Engine(0.001, bent)
    with caplog.at_level(logging.WARNING):
        standing = run(Engine(0.002), wrong, "other")

    assert standing.engine == "onnx" and set(standing.timings) == {"onnx"}
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("net is not computed by other, which does not answer as onnx does: ") and said in line
    assert "\n" not in line and [session.closed for _, session in wrong.opened] == [True]


def test_an_engine_that_takes_other_batches_or_cannot_open_the_file_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run(Engine(), Engine(0.001, max_batch=1)).engine == "onnx"

    def refuses(_: ModelFile, /) -> Any:
        raise GraphRejected("net: no such operator")

    standing = race(MODEL, {"onnx": Engine(), "other": refuses}, WORK, PICTURE, seconds=0)
    assert standing.engine == "onnx" and "no such operator" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "max_batch", "taken"),
    [
        (Sizes(most=(96, 64)), 4, True),  # built for just this work
        (Sizes(most=(64, 64)), 4, False),
        (Sizes(most=(96, 64)), 3, False),
        (Sizes(stride=64), 0, False),
        (Sizes((96, 64)), 0, False),
    ],
)
def test_an_engine_that_is_built_for_shapes_must_take_the_work_and_no_more(
    sizes: Sizes, max_batch: int, taken: bool
) -> None:
    engines = {"onnx": Engine(0.002, sizes=Sizes()), "other": Engine(0.001, max_batch=max_batch, sizes=sizes)}
    standing = race(MODEL, engines, Work((96, 64), (1, 4)), PICTURE, seconds=0)
    assert (standing.engine == "other") is taken


def test_an_engine_that_computes_in_half_precision_runs_only_where_that_is_set() -> None:
    def rounded(x: Floats) -> Floats:
        return (x * np.float32(0.99)).astype(np.float16).astype(np.float32)

    for fp16, engine in ((True, "other"), (False, "onnx")):
        model = replace(MODEL, means=Means(fp16=fp16))
        engines = {"onnx": Engine(0.002), "other": Engine(0.001, rounded)}
        assert race(model, engines, WORK, PICTURE, seconds=0).engine == engine


def test_an_engine_that_fails_while_it_is_measured_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    calls = iter(range(10**6))

    def weary(x: Floats) -> Floats:
        if next(calls) > 4:
            raise RuntimeError("weary")
        return x

    standing = run(Engine(0.002), Engine(0.001, weary))
    assert standing.engine == "onnx" and set(standing.timings) == {"onnx"} and "weary" in caplog.text


def test_what_the_oracle_raises_is_raised() -> None:
    with pytest.raises(OSError, match="illegal"):
        run(Engine(0.001, _raises), Engine())


def test_a_network_of_fixed_batch_is_measured_at_that_batch_alone() -> None:
    standing = run(Engine(max_batch=1), Engine(max_batch=1))
    assert {timing.batch for timing in standing.timings["onnx"]} == {1}
