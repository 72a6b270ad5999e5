"""Claims a second with a short and with a long queue: its length must not slow them down."""

from __future__ import annotations

import time
from datetime import timedelta

from bench import runs as submitted
from bench.figure import Figure, Size, median
from bench.scene import KINDS, TITLES, Kind, Scene, opened
from perdure.store import Store
from perdure.store.rows import WorkerInfo

SHARE = 0.8
BATCH = 100  # runs a claim


async def rate(store: Store, claimed: int) -> float:
    """Runs leased a second, a hundred a claim."""
    info = WorkerInfo("bench", "localhost", 0, "0")
    member = await store.join(info, lease=timedelta(seconds=60))
    try:
        begun = time.perf_counter()
        left = claimed
        while left > 0:
            found = await store.claim("bench", ["noop"], BATCH, idle=True)
            if not found.leases:
                raise RuntimeError("nothing was claimed")
            left -= len(found.leases)
        return claimed / (time.perf_counter() - begun)
    finally:
        await member.leave()


async def measure(size: Size) -> list[Figure]:
    """Rounds alternate between a queue of 10,000 and one of 1,000,000."""
    short, long, claimed = size.of(10_000, 500), size.of(1_000_000, 5_000), size.of(5_000, 300)
    figures: list[Figure] = []
    for kind in KINDS:
        with Scene() as scene:
            figures.append(await _both(scene, kind, (short, long), claimed, size.repeat))
    return figures


async def _both(
    scene: Scene, kind: Kind, lengths: tuple[int, int], claimed: int, repeat: int
) -> Figure:
    short, long = lengths
    shares: list[float] = []
    rates: dict[int, list[float]] = {short: [], long: []}
    async with opened(scene.url(kind)) as large:
        await _fill(large, long)
        for _ in range(repeat):
            async with opened(scene.url(kind)) as small:
                await _fill(small, short)
                rates[short].append(await rate(small, claimed))
            rates[long].append(await rate(large, claimed))
            shares.append(rates[long][-1] / rates[short][-1])
    return Figure(
        "claims", f"{TITLES[kind]}: {long:,} queued, of the rate with {short:,}", median(shares),
        "", SHARE, True, f"{median(rates[long]):,.0f} of {median(rates[short]):,.0f} claims/s",
    )  # fmt: skip


async def _fill(store: Store, runs: int) -> None:
    for start in range(0, runs, 10_000):
        here = range(start, min(start + 10_000, runs))
        await submitted.enqueue(store, [submitted.new("noop", n) for n in here])
