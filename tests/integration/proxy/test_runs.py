"""Programs that steps start: their calls are in their run's journal, and paid by it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import openai
import pytest

import perdure
from perdure.app import App
from perdure.assembly import capturing
from perdure.config import load
from perdure.core.passes import Pass, mint
from perdure.core.record import Kind
from perdure.errors import BoundaryError
from perdure.runtime.handing_over import shared_secret
from perdure.runtime.worker import Worker, WorkerSettings
from perdure.server import keys
from perdure.server.grants import Grant
from perdure.store.costs import CostFilter
from perdure.testing.simulator import ProviderSimulator
from tests.integration.proxy.conftest import WORDS, Begin
from tests.integration.proxy.program import Gateway, environ
from tests.running import Ground

# Each word of its arguments is asked for, one after the other; STREAM streams, STOP stands still
# until it is killed.
PROGRAM = """
import sys, openai, anthropic, time
for word in sys.argv[1:]:
    if word == "STOP":
        print("STOP", flush=True)
        time.sleep(60)
    elif word == "STREAM":
        stream = openai.OpenAI().chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": word}], stream=True)
        print("".join(c.choices[0].delta.content or "" for c in stream), flush=True)
    elif word == "CLAUDE":
        m = anthropic.Anthropic().messages.create(
            model="claude-sonnet-5-5", max_tokens=50, messages=[{"role": "user", "content": word}])
        print(m.content[0].text, flush=True)
    else:
        c = openai.OpenAI().chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": word}])
        print(c.choices[0].message.content, flush=True)
"""
Start = Callable[[App], Awaitable[Worker]]


@pytest.fixture
def gateway(begin: Begin, ground: Ground) -> Gateway:
    return begin(store=ground.store.url)


@pytest.fixture
async def work(ground: Ground, gateway: Gateway, tmp_path: Path) -> AsyncIterator[Start]:
    """``await work(app)``: a worker that knows where the proxy is."""
    file = tmp_path / "worker.toml"
    file.write_text(f'[proxy]\nurl = "{gateway.url}"')
    config = load(file, environ={})
    async with AsyncExitStack() as stack:

        async def start(app: App) -> Worker:
            chosen = WorkerSettings(lease=timedelta(seconds=5))
            worker = Worker(ground.store, ground.blobs, app.agents, chosen)
            await stack.enter_async_context(capturing(config, worker.runtime))
            await worker.start()
            ground.workers.append(worker)
            return worker

        yield start
        while ground.workers:
            await ground.stop()


class Programs:
    """An app whose step runs the program, and what it said so far."""

    def __init__(self) -> None:
        self.app = App()
        self.said = ""
        self.standing = asyncio.Event()  # the program stands still
        self.processes: list[asyncio.subprocess.Process] = []
        self.words: list[str] = []

        @perdure.step(name="compute")
        async def compute(words: str) -> str:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, *self.words,
                env=environ(perdure.subprocess_env()), stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            self.processes.append(process)
            assert process.stdout is not None
            said = ""
            try:
                async for line in process.stdout:
                    said += line.decode()
                    if line == b"STOP\n":
                        self.standing.set()
                if await process.wait():
                    raise RuntimeError(f"the program failed after {said!r}")
                return said
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise

        @self.app.agent(name="outer")
        async def outer(text: str) -> str:
            with perdure.feature("math"):
                return await compute(text)


async def test_a_programs_calls_are_its_runs(
    ground: Ground, gateway: Gateway, work: Start, sim: ProviderSimulator
) -> None:
    """In the journal inside the step, in the ledger with run, agent, step and feature, and in the
    run's events as they come."""
    programs = Programs()
    programs.words = ["one", "STREAM", "CLAUDE"]
    await work(programs.app)
    run = await ground.start("outer", "x")
    assert await ground.result(run) == f"{WORDS}\n" * 3
    entries = await ground.store.journal(run)
    (step,) = [entry for entry in entries if entry.kind == Kind.STEP]
    models = [entry for entry in entries if entry.kind == Kind.MODEL]
    assert [m.name for m in models] == [
        "openai/gpt-5", "openai/gpt-5", "anthropic/claude-sonnet-5-5",
    ]  # fmt: skip
    assert {m.scope for m in models} == {step.key}
    asked = CostFilter(run_id=run, by=("agent", "step", "feature", "source"))
    (row,) = await ground.store.costs(asked)
    assert row.group == {"agent": "outer", "step": "compute", "feature": "math", "source": "sent"}
    assert row.calls == 3
    total = sim.accounting().total
    assert (row.input, row.output) == (total.input, total.output)
    events = await ground.events(run)
    assert {"delta", "effect.started"} <= {event.type for event in events}
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_what_was_answered_is_not_paid_for_again(
    ground: Ground, gateway: Gateway, work: Start, sim: ProviderSimulator
) -> None:
    """The worker goes in the middle of the program. The step is run again, its program too: what it
    asked before is answered from the journal, in order where it asked the same, the rest is made;
    and the ledger knows what that spared."""
    programs = Programs()
    programs.words = ["one", "same", "same", "STREAM", "STOP"]
    await work(programs.app)
    run = await ground.start("outer", "x")
    async with asyncio.timeout(20):
        await programs.standing.wait()
    assert len(sim.calls()) == 4
    await ground.stop()
    programs.words = ["one", "same", "same", "STREAM", "same", "two"]
    await work(programs.app)
    assert await ground.result(run) == f"{WORDS}\n" * 6
    assert len(sim.calls()) == 6
    rows = await ground.store.costs(CostFilter(run_id=run, by=("source",)))
    assert {row.group["source"]: row.calls for row in rows} == {"sent": 6, "replayed": 4}


async def test_a_program_that_was_left_behind_is_refused(
    ground: Ground, gateway: Gateway, work: Start, sim: ProviderSimulator
) -> None:
    """Fencing: its run is another attempt's now, so its calls neither go out nor are recorded."""
    env: dict[str, str] = {}
    standing = asyncio.Event()
    app = App()

    @app.agent(name="outer")
    async def outer(text: str) -> str:
        env.update(perdure.subprocess_env())
        standing.set()
        await perdure.wait_for("go")
        return "done"

    await work(app)
    run = await ground.start("outer", "x")
    async with asyncio.timeout(20):
        await standing.wait()
    token = env["PERDURE_RUN_TOKEN"]
    await ground.until(run, "waiting", "succeeded")
    with pytest.raises(openai.ConflictError):
        await ask(gateway, token)
    await ground.store.signal(run, "go", b"null")
    await ground.result(run)
    with pytest.raises(openai.ConflictError):
        await ask(gateway, token)
    assert not sim.calls()


async def ask(gateway: Gateway, key: str = "any", **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await gateway.openai(key).chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": "x"}], extra_headers=named
    )
    return answer.choices[0].message.content


class Hanging:
    """An app whose run stands still in a step until ``hold`` is set."""

    def __init__(self) -> None:
        self.app = App()
        self.began, self.hold = asyncio.Event(), asyncio.Event()

        @perdure.step(name="hang")
        async def hang() -> str:
            self.began.set()
            await self.hold.wait()
            return "done"

        @self.app.agent(name="outer")
        async def outer(text: str) -> str:
            return await hang()

    async def running(self, ground: Ground) -> str:
        """A run of it, in its step."""
        run = await ground.start("outer", "x")
        async with asyncio.timeout(20):
            await self.began.wait()
        return run


async def models(ground: Ground, run: str) -> int:
    return sum(entry.kind == Kind.MODEL for entry in await ground.store.journal(run))


async def test_a_token_names_its_run_alone(
    ground: Ground, gateway: Gateway, work: Start, sim: ProviderSimulator
) -> None:
    """One that is signed by another store, changed, too old, or another run's names nothing. Where
    nobody needs a key, the name of a run that is under way is enough."""
    hanging = Hanging()
    await work(hanging.app)
    run = await hanging.running(ground)
    secret = await shared_secret(ground.store)
    good = mint(secret, Pass(run, 1, agent="outer"))
    body, _, signature = good.partition(".")
    for bad in (
        mint(b"x" * 32, Pass(run, 1)), f"{body}x.{signature}", f"{body}.", "rt_x",
        mint(secret, Pass(run, 1, expires=1.0)),
    ):  # fmt: skip
        with pytest.raises(openai.AuthenticationError):
            await ask(gateway, bad)
    with pytest.raises(openai.PermissionDeniedError):
        await ask(gateway, good, Perdure_Run="another")
    with pytest.raises(openai.NotFoundError):
        await ask(gateway, Perdure_Run="019ac000-0000-7000-8000-000000000000")
    assert not sim.calls()
    assert await ask(gateway, good) == WORDS
    assert await ask(gateway, Perdure_Run_Token=good) == WORDS
    assert await ask(gateway, Perdure_Run=run) == WORDS
    hanging.hold.set()
    assert await ground.result(run) == "done"
    assert await models(ground, run) == len(sim.calls()) == 3
    with pytest.raises(openai.ConflictError):
        await ask(gateway, Perdure_Run=run)


async def test_which_keys_may_name_a_run(
    ground: Ground, gateway: Gateway, work: Start, sim: ProviderSimulator
) -> None:
    """Those that may write runs, and only their own tenant's. A run's token needs no key."""
    plain, _ = await keys.create(ground.store, "plain", Grant().scopes())
    writer, _ = await keys.create(ground.store, "writer", (*Grant().scopes(), keys.WRITE))
    tenant, _ = await keys.create(
        ground.store, "tenant", (*Grant(tenant="acme").scopes(), keys.WRITE)
    )
    hanging = Hanging()
    await work(hanging.app)
    run = await hanging.running(ground)
    for refused in (plain, tenant):
        with pytest.raises(openai.PermissionDeniedError):
            await ask(gateway, refused, Perdure_Run=run)
    with pytest.raises(openai.AuthenticationError):
        await ask(gateway, Perdure_Run=run)
    assert not sim.calls()
    assert await ask(gateway, writer, Perdure_Run=run) == WORDS
    token = mint(await shared_secret(ground.store), Pass(run, 1, agent="outer"))
    assert await ask(gateway, token) == WORDS
    hanging.hold.set()
    assert await ground.result(run) == "done"
    assert await models(ground, run) == len(sim.calls()) == 2


async def test_an_answer_is_recorded_before_the_program_has_it(
    ground: Ground, gateway: Gateway, work: Start, sim: ProviderSimulator
) -> None:
    """A stream is whole only when its record is durable; who reads it to its end finds it there."""
    programs = Programs()
    programs.words = ["STREAM", "STOP"]
    await work(programs.app)
    run = await ground.start("outer", "x")
    async with asyncio.timeout(20):
        await programs.standing.wait()
    models = [e for e in await ground.store.journal(run) if e.kind == Kind.MODEL]
    assert [(entry.name, entry.state) for entry in models] == [("openai/gpt-5", "done")]
    programs.processes[0].kill()
    await ground.until(run, "queued", "running", "failed", "dead")


async def test_outside_a_run_or_without_a_proxy(ground: Ground) -> None:
    with pytest.raises(BoundaryError, match="outside a run"):
        perdure.subprocess_env()
    app = App()

    @app.agent(name="outer")
    async def outer(text: str) -> str:
        with pytest.raises(BoundaryError, match="where the proxy is"):
            perdure.subprocess_env()
        return "asked"

    await ground.begin(app)
    assert await ground.result(await ground.start("outer", "x")) == "asked"
    assert "PERDURE_RUN_TOKEN" not in os.environ
