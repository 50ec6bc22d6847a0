"""How many different ones there are."""

import random
import tracemalloc

from visage.api.v1.distinct import Distinct


def test_each_is_counted_once_in_whatever_order_they_come() -> None:
    chance = random.Random(7)
    distinct, seen = Distinct(), set[str]()
    for _ in range(300):
        some = [f"p{chance.randrange(20_000)}" for _ in range(chance.randrange(0, 400))]
        distinct.add(some)
        seen.update(some)
        assert len(distinct) == len(seen)


def test_it_costs_a_few_bytes_each() -> None:
    tracemalloc.start()
    try:
        distinct = Distinct()
        for start in range(0, 200_000, 1000):
            distinct.add(str(i) for i in range(start, start + 1000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(distinct) == 200_000 and held < 10 * 200_000
