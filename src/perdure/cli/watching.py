"""What ``perdure runs watch`` does: follows one run to its end, or keeps a board of all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from perdure.cli import outcome, process
from perdure.cli.follow import PAGE, follow, skew
from perdure.cli.prices import price
from perdure.cli.terminal import output
from perdure.cli.terminal.board import Board, Row
from perdure.cli.terminal.growth import Growth
from perdure.cli.terminal.progress import Progress
from perdure.config import Config
from perdure.core.run import RunState
from perdure.errors import StoreUnavailable
from perdure.server.event_view import view
from perdure.server.run_view import summary
from perdure.store import Store
from perdure.store.rows import Filter, Run

EVERY = 0.5  # seconds between two looks at the store
LIMIT = 100  # runs on a board
KEPT = 8  # runs that ended while someone looked, and stay on the board
LIVE = tuple(state for state in RunState if not state.final)


def one(config: Config, run_id: str, *, json_: bool) -> int:
    """Follow a run until it is final; print its result. Raises the RunError of one that did not
    succeed, and NotFound."""
    process.prepare(config, shown=True)
    ended: list[Run] = []
    blobs = process.open_blobs(config)

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config) as store:
            run = await store.get(run_id, payloads=False)
            stop.listen()
            progress = None if json_ else Progress(run_id, skew=await skew(store))

            async def read() -> None:
                async for event in follow(store, run_id):
                    if progress is None:
                        output.line(view(event))
                    else:
                        progress.show(event)

            if progress is None:
                told = await stop.unless(read())
            else:
                with progress:
                    progress.say(f"Run {run_id} of {run.agent}")
                    told = await stop.unless(read())
            if told:
                return stop.exit_code
            ended.append(outcome.fetched(await store.get(run_id), blobs))
        return 0

    code = process.run_process(main)
    for run in ended:
        if json_:
            output.line(outcome.document(run))
        else:
            outcome.print_result(run.result)
        outcome.raise_unless_succeeded(run)
    return code


def board(config: Config, agent: str | None, *, json_: bool) -> int:
    """Show the runs that are not final until told to stop; returns the exit code."""
    process.prepare(config, shown=True)

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config) as store:
            stop.listen()
            eye = Eye(store, agent)
            if not json_ and output.moving(output.stdout()):
                with Board(await skew(store), config.store.url) as shown:

                    async def draw() -> None:
                        while True:
                            await eye.look()
                            shown.show(eye.rows(), eye.away)
                            await asyncio.sleep(EVERY)

                    await stop.unless(draw())
            else:

                async def tell() -> None:
                    found = await eye.look()
                    if not found and not eye.away:
                        whose = f" of {agent}" if agent is not None else ""
                        output.note(f"No unfinished runs{whose}; waiting for some.")
                    while True:
                        for run in found:
                            if json_:
                                output.line(orjson.loads(orjson.dumps(summary(run))))
                            else:
                                print(f"{run.id}  {run.agent}  {run.state}", flush=True)
                        await asyncio.sleep(EVERY)
                        found = await eye.look()

                await stop.unless(tell())
        # Ctrl-C is how one leaves a board, and no failure.
        return 0 if stop.number == 2 else stop.exit_code

    return process.run_process(main)


@dataclass(slots=True)
class Seen:
    """A run that was looked at, and how far its log was read."""

    run: Run
    growth: Growth = field(default_factory=lambda: Growth(price))
    after: int = 0


class Eye:
    """What is known of the runs that are not final, and of those that ended meanwhile."""

    def __init__(self, store: Store, agent: str | None) -> None:
        self._store = store
        self._agent = agent
        self._seen: dict[str, Seen] = {}
        self._ended: dict[str, Seen] = {}
        self.away = False

    async def look(self) -> list[Run]:
        """Look again; returns the runs whose state changed since the last time. A store that is
        away is waited for."""
        try:
            changed = await self._look()
        except StoreUnavailable:
            self.away = True
            return []
        self.away = False
        return changed

    async def _look(self) -> list[Run]:
        found = await self._store.find(Filter(agent=self._agent, states=LIVE, limit=LIMIT))
        gone = self._seen.keys() - {run.id for run in found}
        found += [await self._store.get(run_id, payloads=False) for run_id in gone]
        changed = []
        for run in found:
            before = self._seen.get(run.id)
            if before is None:
                before = self._ended.pop(run.id) if run.id in self._ended else Seen(run)
                self._seen[run.id] = before
                changed.append(run)
            elif before.run.state is not run.state:
                changed.append(run)
            before.run = run
            await self._read(before)
            if run.state.final:
                self._ended[run.id] = self._seen.pop(run.id)
        for old in list(self._ended)[:-KEPT]:
            del self._ended[old]
        return changed

    async def _read(self, seen: Seen) -> None:
        while True:
            page = await self._store.events(seen.run.id, seen.after, PAGE)
            for event in page:
                seen.growth.take(event)
                seen.after = event.seq
            if len(page) < PAGE:
                return

    def rows(self) -> list[Row]:
        """Oldest first, what ended above the others."""
        return [_row(seen) for seen in self._ended.values()] + [
            _row(seen) for seen in sorted(self._seen.values(), key=lambda s: s.run.created_at)
        ]


def _row(seen: Seen) -> Row:
    run = seen.run
    since: datetime = run.started_at or run.created_at
    flying = list(seen.growth.flying()) if run.state is RunState.RUNNING else []
    took: timedelta | None = None
    if run.finished_at is not None:
        took = run.finished_at - since
    return Row(run, since, took, flying, seen.growth.totals)
