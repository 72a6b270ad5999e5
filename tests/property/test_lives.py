"""Random agents on the real runtime, whose workers die again and again: the result is that of an
undisturbed run, and nothing that was recorded is performed again (K2, K3, K6)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from perdure import Limits, step, tool
from tests.unit.runtime.harness import House, opened

# A tree: ["seq", parts], ["par", parts] or ["step" | "tool", name, inside].
Tree = list[Any]


def grow(rng: random.Random, depth: int, names: list[str]) -> Tree:
    kind = rng.choice(["step", "tool"] if depth == 0 else ["seq", "seq", "par", "step", "tool"])
    if kind in ("step", "tool"):
        names.append(f"{kind} {len(names)}")
        name = names[-1]
        inside = grow(rng, depth - 1, names) if depth and rng.random() < 0.5 else None
        return [kind, name, inside]
    return [kind, [grow(rng, depth - 1, names) for _ in range(rng.randint(1, 4))]]


def outcome(tree: Tree | None) -> Any:
    if tree is None:
        return None
    if tree[0] in ("seq", "par"):
        return [outcome(part) for part in tree[1]]
    return [tree[1], outcome(tree[2])]


def agent_of(house: House, rng: random.Random) -> Any:
    async def play(tree: Tree | None) -> Any:
        for _ in range(rng.randint(0, 3)):
            await asyncio.sleep(0)
        if tree is None:
            return None
        if tree[0] == "seq":
            return [await play(part) for part in tree[1]]
        if tree[0] == "par":
            return [*await asyncio.gather(*map(play, tree[1]))]
        perform = work if tree[0] == "step" else act
        return await perform(tree[1], tree[2])

    async def body(name: str, inside: Tree | None) -> Any:
        house.did[name] += 1
        return [name, await play(inside)]

    work, act = step(name="work")(body), tool(name="act")(body)

    async def agent(tree: Tree) -> Any:
        return await play(tree)

    return agent


@pytest.mark.parametrize("seed", range(25))
async def test_whenever_the_workers_die(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    names: list[str] = []
    tree = ["seq", [grow(rng, 3, names) for _ in range(3)]]
    async with opened(tmp_path) as house:
        house.serve(agent_of(house, rng), name="agent", limits=Limits(repeats=None))
        run_id = await house.submit("agent", tree)
        recorded: dict[str, int] = {}
        for _ in range(3):
            if len(recorded) == len(names):
                break
            worker = await house.worker()
            # With progress each time: a run that only dies is poison (L6).
            await house.until_entries(run_id, rng.randint(len(recorded) + 1, len(names)))
            await house.crash(worker)
            for entry in await house.entries(run_id):
                if entry.state == "done":
                    name = (entry.value or b"").split(b'"')[1].decode()
                    assert recorded.setdefault(name, house.did[name]) == house.did[name]
        await house.worker()
        assert await house.result(run_id) == outcome(tree)
        for name, times in recorded.items():
            assert house.did[name] == times, name
        assert set(house.did) == set(names)
