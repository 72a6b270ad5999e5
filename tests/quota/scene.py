"""The parts of a play: a provider, a database, perhaps a Redis, a nursery, workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from perdure.store import make_store
from tests.quota.lanes import RATE, SIZES
from tests.servers import PostgresServer, RedisServer

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join((str(ROOT / "src"), str(ROOT)))  # this tree's code, whatever is installed
# Who waits in its place when its worker is killed, twice with nothing journaled between, has to be
# executed alone (L6), and takes up a worker: under so many kills the fewer wait the better.
PATIENCE = "0.3s"
# It does not stop to collect its garbage: what comes in a third of a second in which nobody looks
# counts as having come at the end of it, and a second then holds more than was sent in it.
PROVIDER = (
    "import gc, runpy; gc.disable(); "
    "runpy.run_module('perdure.testing.simulator', run_name='__main__', alter_sys=True)"
)
SKEW_S = 2.0  # between the fastest and the slowest worker's clock
START_S = 60.0


class Scene:
    """``keeper``: postgres or redis, which shares the limits; runs are in PostgreSQL. ``settings``:
    of perdure.toml, beside the providers' names."""

    def __init__(
        self,
        folder: Path,
        keeper: str,
        quotas: Sequence[dict[str, Any]],
        settings: str,
        *,
        sizes: str = "",
        rate: float = RATE,
        workers: int = 4,
        concurrency: int = 100,
        fence: bool = True,
        ttl: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.folder = folder
        self.keeper = keeper
        self.postgres = PostgresServer()
        self.redis = RedisServer(durable=True)
        self.chance = random.Random(seed)
        self.kills = 0
        self._quotas = quotas
        self._settings = settings
        self._sizes = sizes or f"{SIZES.shape}:{SIZES.mean:g}:{SIZES.tail:g}"
        self._rate = rate
        self._skews = [SKEW_S * (n / max(1, workers - 1) - 0.5) for n in range(workers)]
        self._concurrency = concurrency
        self._fence = fence
        self._ttl = ttl
        self._seed = seed
        self._pids: dict[int, int] = {}  # by worker
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        stack = self._stack
        try:
            stack.enter_context(self.postgres)
            if self.keeper == "redis":
                stack.enter_context(self.redis)
            self._begin_provider()
            self.dsn = self.postgres.dsn(self.postgres.create_database())
            self.store = make_store(self.dsn)
            await self.store.open(check=False)
            await self.store.upgrade()
            self._write_settings()
            self._begin_nursery()
            for number in range(len(self._skews)):
                self._begin(number)
        except BaseException:
            stack.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.store.close()
        finally:
            self._stack.close()

    # -- the provider -----------------------------------------------------------------------------

    def _begin_provider(self) -> None:
        limits = self.folder / "limits.json"
        limits.write_text(json.dumps(list(self._quotas)))
        self._provider = self._run(
            "provider",
            *("-c", PROVIDER, "--brain", "load", "--sizes", self._sizes),
            *("--rate", f"{self._rate:g}", "--seed", str(self._seed), "--limits", str(limits)),
            *("--rows", "100000"),
        )
        self.url = self._line(self._provider)
        try:  # providers have machines of their own
            ours = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, self._provider.pid, min(0, ours) - 10)
        except PermissionError:
            pass

    def ask(self, path: str) -> Any:
        """What the provider says at /_sim/``path``."""
        with urllib.request.urlopen(f"{self.url}/_sim/{path}", timeout=120) as answer:
            return json.load(answer)

    # -- workers ----------------------------------------------------------------------------------

    def _write_settings(self) -> None:
        port = self.url.rpartition(":")[2]
        shared = f'shared = "{self.redis.url}"\n' if self.keeper == "redis" else ""
        # One server under two names: a host is one provider's.
        (self.folder / "perdure.toml").write_text(
            f'{self._settings}\n[gateway]\npatience = "{PATIENCE}"\n{shared}'
            f'[gateway.providers]\n"127.0.0.1:{port}" = "anthropic"\n'
            f'"localhost:{port}" = "openai"\n'
        )
        self._environ = {
            "PERDURE_STORE": self.dsn,
            "PERDURE_WORKER_CONCURRENCY": str(self._concurrency),
            "PERDURE_CONFIG": str(self.folder / "perdure.toml"),
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"http://localhost:{port}/v1",
            "OPENAI_API_KEY": "sk-simulated",
        }

    def _begin_nursery(self) -> None:
        self._nursery = self._run("nursery", "-m", "tests.quota.nursery")
        self._line(self._nursery)

    def _begin(self, number: int) -> None:
        wanted = {
            "arguments": ["worker", "tests.quota.agents:app"],
            "environ": self._environ,
            "log": str(self.folder / f"worker{number}.log"),
            "skew": self._skews[number],
            "fence": self._fence,
            "ttl": self._ttl,
        }
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(json.dumps(wanted) + "\n")
        self._nursery.stdin.flush()
        self._pids[number] = int(self._line(self._nursery))

    def kill(self) -> None:
        """A random worker, with SIGKILL; it begins anew at once."""
        number = self.chance.choice(sorted(self._pids))
        self._signal(number, signal.SIGKILL)
        self.kills += 1
        self._begin(number)

    def revive(self) -> None:
        """Begin those anew that ended by themselves, as supervisors do: a worker ends at once where
        it finds no store."""
        for number, pid in self._pids.items():
            if not Path(f"/proc/{pid}").exists():
                self._begin(number)

    def end(self) -> None:
        """Ask all workers to end, in order."""
        for number in self._pids:
            self._signal(number, signal.SIGTERM)

    def _signal(self, number: int, which: signal.Signals) -> None:
        try:
            os.kill(self._pids[number], which)
        except ProcessLookupError:
            pass

    # -- the keepers ------------------------------------------------------------------------------

    def crash(self) -> None:
        """The keeper of the limits dies."""
        if self.keeper == "redis":
            self.redis.kill()
        else:
            self.postgres.kill()

    def recover(self, *, empty: bool = False) -> None:
        """It is there again; ``empty``: Redis has lost what it knew."""
        if self.keeper == "postgres":
            self.postgres.start()
            return
        if empty:
            assert self.redis.folder is not None
            (self.redis.folder / "appendonly.aof").unlink()
        self.redis.start()

    # -- reports ----------------------------------------------------------------------------------

    def alone(self) -> int:
        """How many runs were struck so often that they were executed alone."""
        database = self.dsn.rpartition("/")[2]
        return int(self.postgres.psql("select count(*) from perdure.runs where alone", database))

    def runs(self) -> dict[tuple[str, str], int]:
        """How many runs there are, by state and result."""
        rows = self.postgres.psql(
            "select state, coalesce(convert_from(result, 'utf8'), ''), count(*) "
            "from perdure.runs group by 1, 2",
            self.dsn.rpartition("/")[2],
        )
        cells = [row.split("|") for row in rows.splitlines()]
        return {(state, result): int(count) for state, result, count in cells}

    def words(self) -> str:
        """What workers and provider said, the end of it."""
        parts = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {part.name}\n{part.read_text()[-3000:]}" for part in parts)

    # -- processes --------------------------------------------------------------------------------

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": PATH}, cwd=self.folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        log.close()
        self._stack.callback(_ended, process)
        return process

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"a process ended before it began:\n{self.words()}")
        return line


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def moment() -> float:
    """By the provider's clock, which is this machine's."""
    return time.time()
