"""For every cut and every order: replay gives what the uncut execution gave, and performs each
effect whose record is durable once.

Agents are random trees of sequential, parallel and nested effects; a scheduler picks who moves
next; the "process" dies after any number of records; siblings arrive in another order the next
time. Everything is pure: the journal under test, and lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.core.branch import child
from perdure.core.digest import digest
from perdure.core.matching import Journal, Verdict
from perdure.core.record import Entry, EntryState, fold


@dataclass(frozen=True)
class Call:
    """An effect; ``inside`` are the effects its body requests."""

    kind: str
    name: str
    inside: Seq | None = None


@dataclass(frozen=True)
class Par:
    branches: tuple[Seq, ...]


@dataclass(frozen=True)
class Seq:
    parts: tuple[Call | Par, ...]


class Cut(Exception):
    """The process is killed."""


@dataclass
class World:
    """What was durable, and what was done."""

    rows: list[Entry] = field(default_factory=list)
    performed: Counter[str] = field(default_factory=Counter)


# Yields whether it moved; False: it is unsure, and waits for the others.
Agent = Generator[bool, None, Any]


class Process:
    """One attempt: interleaves the agent's branches as ``choices`` say."""

    def __init__(self, world: World, choices: list[int], cut: int | None) -> None:
        self.world = world
        self.journal = Journal(fold(world.rows))
        self.choices = choices
        self.turn = 0
        self.cut = cut
        self.arrivals: Counter[tuple[bytes, str]] = Counter()
        self.sure = False  # nothing else can move

    def choose(self, n: int) -> int:
        self.turn += 1
        return self.choices[self.turn % len(self.choices)] % n if self.choices else 0

    def run(self, agent: Seq) -> Any:
        return self.drive(self.seq(agent, b"", ""))

    def drive(self, main: Agent) -> Any:
        while True:
            try:
                self.sure = not next(main)
            except StopIteration as stop:
                return stop.value

    def seq(self, seq: Seq, scope: bytes, path: str) -> Agent:
        results = []
        for part in seq.parts:
            if isinstance(part, Call):
                results.append((yield from self.call(part, scope, path)))
            else:
                results.append((yield from self.par(part, scope, path)))
        return results

    def par(self, par: Par, scope: bytes, path: str) -> Agent:
        """Children get their index when they first move, in any order."""
        results: list[Any] = [None] * len(par.branches)
        running: dict[int, Agent | None] = dict.fromkeys(range(len(par.branches)))
        stuck: set[int] = set()
        while running:
            able = sorted(set(running) - stuck) or sorted(running)
            i = able[self.choose(len(able))]
            generator = running[i]
            if generator is None:
                index = self.arrivals[scope, path]
                self.arrivals[scope, path] += 1
                generator = running[i] = self.seq(par.branches[i], scope, child(path, index))
            try:
                moved = next(generator)
            except StopIteration as stop:
                results[i] = stop.value
                del running[i]
                moved = True
            if moved:
                stuck.clear()
            else:
                stuck.add(i)
            yield bool(set(running) - stuck) or not running
        return results

    def call(self, call: Call, scope: bytes, path: str) -> Agent:
        content = digest(repr(call).encode())  # equal requests behave alike
        match = self.journal.request(scope, path, call.kind, call.name, content)
        while match.verdict is Verdict.UNSURE:
            yield False
            self.journal.reconsider()
            match = self.journal.request(scope, path, call.kind, call.name, content, sure=self.sure)
            self.sure = False
        if match.verdict is not Verdict.NEW:
            assert match.verdict is Verdict.REPLAY, match
            assert match.entry is not None
            self.journal.delivered(scope, path, match.entry.key)
            return eval(match.entry.value or b"")
        yield True
        inside = (yield from self.seq(call.inside, match.key, "")) if call.inside else []
        yield True
        if self.cut is not None and len(self.world.rows) >= self.cut:
            raise Cut
        value = [call.name, inside]
        self.world.performed[repr(call)] += 1
        self.world.rows.append(
            Entry(
                len(self.world.rows) + 1, 1, match.key, scope, path, match.after, call.kind,
                call.name, content, match.occurrence, "reads", EntryState.DONE, 0,
                repr(value).encode(), 0,
            )
        )  # fmt: skip
        self.journal.delivered(scope, path, match.key)
        yield True
        return value


def calls(agent: Seq) -> int:
    return sum(
        1 + (calls(p.inside) if p.inside else 0)
        if isinstance(p, Call)
        else sum(calls(b) for b in p.branches)
        for p in agent.parts
    )


names = st.sampled_from(["a", "b", "c", "d", "e"])
kinds = st.sampled_from(["model", "tool", "step"])


def sequences(depth: int) -> st.SearchStrategy[Seq]:
    leaf: st.SearchStrategy[Any] = st.builds(Call, kinds, names, st.none())
    if depth:
        inner = sequences(depth - 1)
        leaf = st.one_of(
            leaf,
            st.builds(Call, kinds, names, inner),
            st.builds(Par, st.lists(inner, min_size=2, max_size=4).map(tuple)),
        )
    return st.builds(Seq, st.lists(leaf, min_size=1, max_size=4).map(tuple))


choices = st.lists(st.integers(0, 11), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(sequences(2), st.lists(choices, min_size=3, max_size=3), st.data())
def test_any_cut_and_any_order_replays_to_the_same_end(
    agent: Seq, orders: list[list[int]], data: st.DataObject
) -> None:
    uncut = World()
    result = Process(uncut, orders[0], None).run(agent)
    total = len(uncut.rows)
    assert total == calls(agent)

    world = World()
    cut = 0
    for order in orders[1:]:
        cut = data.draw(st.integers(cut, total), label="cut after records")
        try:
            Process(world, order, cut).run(agent)
        except Cut:
            pass
    assert Process(world, orders[0], None).run(agent) == result
    # Each effect has one durable record: none was performed again once it was recorded.
    assert len(world.rows) == total
    assert world.performed == uncut.performed


@settings(max_examples=100, deadline=None)
@given(sequences(2), choices, choices)
def test_a_finished_journal_performs_nothing(
    agent: Seq, first: list[int], second: list[int]
) -> None:
    world = World()
    result = Process(world, first, None).run(agent)
    before = list(world.rows)
    assert Process(world, second, None).run(agent) == result
    assert world.rows == before
