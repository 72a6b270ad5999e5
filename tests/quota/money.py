"""200 calls at once, in four processes, against a hard budget that 50 of them may need: not a cent
over, by the provider's own count."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from perdure.store.costs import CostFilter
from perdure.store.rows import NewRun
from tests.quota.scene import Scene

CALLS = 200
MOST = 20  # tokens of an answer
BUDGET = 50 * MOST  # dollars
TTL_S = 6.0  # instead of a minute, so that the dead's money is known to be lost soon
# A million dollars a million tokens of output: a dollar a token, and the prompt for nothing.
SETTINGS = f"""
[[prices]]
model = "*"
input = 0
output = 1_000_000

[[budgets]]
name = "all"
usd = "{BUDGET}"
"""


@dataclass(frozen=True)
class Spent:
    """``billed``: dollars, by the provider's count; ``booked``: by the ledger. ``ends``: how many
    runs ended how."""

    billed: int
    booked: float
    ends: dict[tuple[str, str], int]
    kills: int
    words: str

    @property
    def ended(self) -> int:
        """Runs with an answer, or a refusal for lack of money."""
        right = (("succeeded", '"ok"'), ("succeeded", '"402"'))
        return sum(self.ends.get(end, 0) for end in right)


async def spend(folder: Path, *, kills: int = 0, fence: bool = True, within: float = 60.0) -> Spent:
    """All at once, as soon as four workers are there."""
    async with Scene(
        folder, "postgres", [], SETTINGS, sizes=f"lognormal:{MOST * 0.8:g}:0.6", rate=40,
        fence=fence, ttl=TTL_S,
    ) as scene:  # fmt: skip
        runs = []
        for _ in range(CALLS):
            id = str(uuid4())
            given = {"name": id, "words": 5, "most": MOST}
            runs.append(
                NewRun(id, "spend", json.dumps(given).encode(), queue="spend", max_attempts=1000)
            )
        await scene.store.enqueue(runs)
        for _ in range(kills):
            # While calls are under way: it is the middle of one that matters.
            started = scene.ask("counts")["started"] + 8
            for _ in range(30):
                if scene.ask("counts")["started"] >= started:
                    break
                await asyncio.sleep(0.1)
            scene.kill()
        until = time.monotonic() + within
        while time.monotonic() < until:
            ends = await asyncio.to_thread(scene.runs)
            if sum(count for (state, _), count in ends.items() if state == "succeeded") == CALLS:
                break
            await asyncio.sleep(0.2)
        books = scene.ask("accounting")
        # None where all that the killed ones had reserved was all there was: the rest is refused.
        booked = sum(row.cost for row in await scene.store.costs(CostFilter()))
        return Spent(books["total"]["output"], booked / 1e9, ends, scene.kills, scene.words())
