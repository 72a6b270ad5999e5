"""A pool's document: small, read back as it was, and refused when it is none."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from perdure.core.admission.demand import Demand
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.state import decode, fresh
from perdure.errors import CodecError
from tests.unit.core.admission.place import NOW, Place

POOL = Pool(
    "anthropic/claude",
    (
        Limit(What.REQUESTS, 4000),
        Limit(What.INPUT, 2_000_000, refund=True),
        Limit(What.OUTPUT, 400_000, charged="produced"),
        Limit(What.CONCURRENT, 500),
    ),
)


def busy() -> Place:
    """Eight workers, four limits, two minutes of calls and as many waiting as can be."""
    place, rng = Place(POOL), random.Random(1)
    for second in range(120):
        for worker in range(8):
            name = f"host-{worker}-1a2b"
            if rng.random() < 0.6:
                demand = Demand(
                    f"{second:x}-{worker}", (POOL.key,), f"tenant-{rng.randrange(40)}", 0, 0.0,
                    rng.randint(1000, 20000), 4000, 900.0, 810_000.0,
                )  # fmt: skip
                place.one(demand, second, name)
            for old in list(place.hand(name).flights)[:-3]:
                place.hand(name).end(old, 812)
    for worker in range(8):
        waiting = [
            Demand(
                f"w{worker}{n:x}", (POOL.key,), f"tenant-{n}", n % 3, 0.0, 1_990_000, 4000, 900.0
            )
            for n in range(16)
        ]
        place.ask(*waiting, at=120, worker=f"host-{worker}-1a2b")
    return place


def test_it_stays_below_4_kilobytes() -> None:
    body = json.dumps(json.loads(busy().bodies[POOL.key]), separators=(",", ":"))
    assert 2000 < len(body) < 4096


def test_it_is_read_back_as_it_was() -> None:
    document = json.loads(busy().bodies[POOL.key])
    assert json.loads(json.dumps(decode(document, POOL).encode())) == document


def damaged() -> list[Any]:
    good = json.loads(busy().bodies[POOL.key])
    worker = next(iter(good["w"]))

    def but(*path: Any, value: Any) -> Any:
        copy = json.loads(json.dumps(good))
        place = copy
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        return copy

    return [
        None, [], {}, {"v": 1}, but("v", value=99), but("t", value="x"), but("m", value=3),
        but("m", "input/60", value=[1, 2]), but("m", "input/60", 4, value=["x"] * 61),
        but("m", "input/60", 4, value=[1] * 60), but("m", "input/60", 4, value=[-1] * 61),
        but("m", "input/60", 0, value="x"), but("w", worker, value=7), but("w", worker, value=[]),
        but("w", worker, 2, value="x"), but("w", worker, 7, value=[["id"]]),
        but("w", worker, 7, value=[[1] * 10]), but("f", value=[1]), but("f", "t", value=["a", 1]),
        but("hold", value="x"), but("passed", value=None), but("slow", value="x"),
        but("h", value={"w": ["a"] * 5}),
    ]  # fmt: skip


@pytest.mark.parametrize("document", damaged())
def test_anything_else_is_refused(document: Any) -> None:
    with pytest.raises(CodecError, match="anthropic/claude"):
        decode(document, POOL)


def test_a_limit_that_is_new_counts_as_used() -> None:
    old = Pool("p", (Limit(What.REQUESTS, 10),))
    document = fresh(old, NOW).encode()
    state = decode(document, Pool("p", (*old.limits, Limit(What.INPUT, 1000))))
    assert [meter.used for meter in state.meters] == [0, 1000]


def test_a_meter_of_other_settings_is_kept_for_its_time() -> None:
    both = Pool("p", (Limit(What.REQUESTS, 10), Limit(What.INPUT, 1000)))
    one = Pool("p", (both.limits[0],))
    state = fresh(both, NOW)
    state.meters[1].book(both.limits[1], 77, NOW)
    seen = decode(json.loads(json.dumps(state.encode())), one)
    assert decode(json.loads(json.dumps(seen.encode())), both).meters[1].used == 77
    seen.tend(NOW + 600)
    later = decode(json.loads(json.dumps(seen.encode())), one)
    assert list(later.encode()["m"]) == ["requests/60"]
