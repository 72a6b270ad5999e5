"""One case: an armed worker is killed at a crash point, what was durable is photographed, another
worker finishes, and everything that really happened is counted.

What must hold after the kill follows from the photograph: a model call whose answer was journaled
is not sent again, so the calls after the kill are exactly those that were missing; likewise for
tools; and what a watcher had read is still there, as it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from perdure.core.crash import Point
from perdure.core.record import EntryState, Kind, RecordType
from perdure.core.run import RunState
from perdure.store import Store, make_store
from perdure.store.rows import LogEvent, NewRun
from perdure.testing.simulator import Match, ProviderSimulator
from tests.faults.brain import MODEL_CALLS, TOOL_CALLS, brain

ROOT = Path(__file__).parents[2]
# the first part of an agent's name -> the file that has it
FILES = {"plain": "plain.py", "graph": "graphs.py", "maf": "microsoft.py", "oai": "agents_sdk.py",
         "pai": "pydantic_agents.py", "adk": "adk_agents.py"}  # fmt: skip
PATIENCE = 60.0  # seconds for anything to happen at all


@dataclass(frozen=True)
class Case:
    """``n``: at which visit of the point the process dies. ``runs`` are under way together."""

    point: Point
    store: str
    agent: str
    n: int = 1
    runs: int = 2

    def __str__(self) -> str:
        return f"{self.point}:{self.n}-{self.store}-{self.agent}"


@dataclass
class Outcome:
    """What was counted. All but ``again_in_flight`` must be 0 and ``killed`` true."""

    killed: bool = False
    again_in_flight: int = 0  # model calls sent again whose answer was not durable at the kill
    model_repeated: int = 0  # journaled model calls sent again
    tools_repeated: int = 0  # completed, journaled tool calls run again
    once_twice: int = 0  # payments taken more than once
    runs_lost: int = 0
    events_lost: int = 0
    events_repeated: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.killed and not (
            self.model_repeated
            or self.tools_repeated
            or self.once_twice
            or self.runs_lost
            or self.events_lost
            or self.events_repeated
        )


class Scene:
    """The parts of one case: a provider, a database, the tools' own file, worker processes."""

    def __init__(self, folder: Path, case: Case, dsn: str | None) -> None:
        self.folder = folder
        self.case = case
        self.url = dsn or f"sqlite:///{folder}/perdure.db"
        self.tool_log = folder / "tools.jsonl"
        self.sim = ProviderSimulator(brain)
        self.store: Store = make_store(self.url)
        self._processes: list[subprocess.Popen[bytes]] = []

    async def __aenter__(self) -> Scene:
        self.sim.start()
        config = self.folder / "perdure.toml"
        # One server under two names: a host is one provider's.
        other = "google" if self.case.agent.startswith("adk") else "openai"
        config.write_text(
            "[gateway.providers]\n"
            f'"127.0.0.1:{self.sim.port}" = "anthropic"\n'
            f'"localhost:{self.sim.port}" = "{other}"\n'
        )
        await self.store.open(check=False)
        await self.store.upgrade()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        await self.store.close()
        self.sim.stop()

    def worker(self, *, crash: str = "", options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """A worker process, armed or not. Its output goes to a file in the case's folder."""
        log = (self.folder / f"worker{len(self._processes)}.log").open("wb")
        environ = {
            **os.environ,
            "PERDURE_STORE": self.url,
            "PERDURE_CONFIG": str(self.folder / "perdure.toml"),
            "PERDURE_TESTING_CRASH": crash,
            "PERDURE_WORKER_CONCURRENCY": "10",
            "ANTHROPIC_BASE_URL": self.sim.url,
            "ANTHROPIC_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"http://localhost:{self.sim.port}/v1",
            "OPENAI_API_KEY": "sk-simulated",
            "GOOGLE_GEMINI_BASE_URL": f"http://localhost:{self.sim.port}",
            "GOOGLE_API_KEY": "any",
            "TOOL_LOG": str(self.tool_log),
            "PYTHONPATH": str(ROOT),
            "LANGSMITH_TRACING": "false",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }
        family = self.case.agent.partition("_")[0]
        target = f"{ROOT}/tests/faults/{FILES[family]}:app"
        process = subprocess.Popen(
            [sys.executable, "-m", "perdure", "worker", target, *options],
            env=environ, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
        )  # fmt: skip
        log.close()
        self._processes.append(process)
        return process

    def tools(self, tool: str | None = None, phase: str = "begin") -> Counter[str]:
        """How often the bodies of tools began, or ended, by what they are about."""
        lines = self.tool_log.read_text().splitlines() if self.tool_log.exists() else []
        rows = [json.loads(line) for line in lines]
        return Counter(
            f"{row['tool']} {row['about']}"
            for row in rows
            if row["phase"] == phase and tool in (None, row["tool"])
        )

    async def logs(self, runs: list[str]) -> dict[str, list[LogEvent]]:
        """Every row of every run's log."""
        found: dict[str, list[LogEvent]] = {}
        for run in runs:
            rows: list[LogEvent] = []
            while page := await self.store.events(run, rows[-1].seq if rows else 0, 1000):
                rows.extend(page)
            found[run] = rows
        return found

    def output(self) -> str:
        """The workers' own words, for the report of a case that failed."""
        parts = sorted(self.folder.glob("worker*.log"))
        return "\n".join(f"--- {p.name}\n{p.read_text()[-3000:]}" for p in parts)


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str) -> None:
    """Wait for another process. Raises TimeoutError that says for what."""
    for _ in range(int(PATIENCE / 0.02)):
        answer = condition()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"waited {PATIENCE:g} s for {what}")


def entries(logs: dict[str, list[LogEvent]], kind: Kind) -> int:
    """How many effects of a kind are done."""
    return sum(
        len({
            row.key
            for row in rows
            if row.type == RecordType.ENTRY and row.kind == kind and row.state == EntryState.DONE
        })
        for rows in logs.values()
    )  # fmt: skip


async def play(case: Case, folder: Path, dsn: str | None = None) -> Outcome:
    """Run one case to its end."""
    async with Scene(folder, case, dsn) as scene:
        runs = [str(uuid4()) for _ in range(case.runs)]
        await scene.store.enqueue([
            NewRun(run, case.agent, json.dumps(f"key{i}").encode(), queue=case.agent)
            for i, run in enumerate(runs)
        ])  # fmt: skip
        outcome = await _kill(case, scene)
        photograph = await scene.logs(runs)
        calls_before = scene.sim.counts().started
        tools_before = scene.tools()
        scene.sim.release()
        if not outcome.killed:
            outcome.notes.append(scene.output())
            return outcome
        scene.worker()

        async def all_final() -> bool:
            return all([(await scene.store.get(run, payloads=False)).state.final for run in runs])

        try:
            await until(all_final, "the runs to end")
        except TimeoutError as error:
            outcome.notes.append(str(error))
        await _count(case, scene, outcome, runs, photograph, calls_before, tools_before)
        if not outcome.good:
            outcome.notes.append(scene.output())
        return outcome


async def _kill(case: Case, scene: Scene) -> Outcome:
    """Start the armed worker and see it die."""
    options: tuple[str, ...] = ()
    if case.point is Point.WHILE_PARKING:
        options = ("--max-attempt", "300ms")
    if case.point is Point.DURING_DRAIN:
        scene.sim.hold(Match(nth=3))
    process = scene.worker(crash=f"{case.point}:{case.n}", options=options)
    if case.point is Point.DURING_DRAIN:
        await scene.sim.wait(held=1, timeout=PATIENCE)
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(process.wait, PATIENCE)
    except subprocess.TimeoutExpired:
        return Outcome(notes=["the point was not reached"])
    return Outcome(killed=process.returncode == -signal.SIGKILL)


async def _count(
    case: Case,
    scene: Scene,
    outcome: Outcome,
    runs: list[str],
    photograph: dict[str, list[LogEvent]],
    calls_before: int,
    tools_before: Counter[str],
) -> None:
    final = await scene.logs(runs)
    for run in runs:
        state = (await scene.store.get(run, payloads=False)).state
        if state is not RunState.SUCCEEDED:
            outcome.runs_lost += 1
            outcome.notes.append(f"run {run} is {state}")
    wanted = MODEL_CALLS[case.agent] * case.runs
    done = entries(photograph, Kind.MODEL)
    after = scene.sim.counts().started - calls_before
    outcome.model_repeated = max(after - (wanted - done), 0)
    outcome.again_in_flight = calls_before - done
    tools_done = entries(photograph, Kind.TOOL)
    tools_after = sum((scene.tools() - tools_before).values())
    outcome.tools_repeated = max(tools_after - (TOOL_CALLS * case.runs - tools_done), 0)
    outcome.once_twice = sum(n - 1 for n in scene.tools("charge", "end").values() if n > 1)
    for run in runs:
        before, now = photograph[run], final[run]
        outcome.events_lost += sum(1 for a, b in zip(before, now, strict=False) if a != b)
        outcome.events_lost += max(len(before) - len(now), 0)
        if [row.seq for row in now] != list(range(1, len(now) + 1)):
            outcome.events_lost += 1
            outcome.notes.append(f"run {run}: the log has gaps")
        keys = Counter(
            row.key for row in now if row.type == RecordType.ENTRY and row.state == EntryState.DONE
        )
        ends = [row for row in now if row.type == RecordType.STATUS and row.name == "succeeded"]
        outcome.events_repeated += sum(n - 1 for n in keys.values()) + max(len(ends) - 1, 0)


def database(stack: ExitStack, store: str) -> Callable[[], str | None]:
    """Gives each case a database of its own: a new one on one server, or none for SQLite."""
    if store == "sqlite":
        return lambda: None
    from tests.servers import PostgresServer

    server = stack.enter_context(PostgresServer())
    return lambda: server.dsn(server.create_database())
