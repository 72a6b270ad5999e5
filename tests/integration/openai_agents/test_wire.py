"""What goes over the wire beside tools: a random cache key that must not change what is asked, and
traces that are no model calls."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import agents
import httpx2
import orjson
import pytest
from agents import Agent, RunConfig, Runner, function_tool
from agents.models.interface import ModelProvider
from agents.tracing import get_trace_provider
from agents.tracing.processors import BackendSpanExporter, BatchTraceProcessor

from perdure import gateway
from perdure.app import App
from perdure.core.record import Kind
from perdure.testing.simulator import Call, Reply
from tests.integration.openai_agents.conftest import Provide, Tally, noting
from tests.running import Ground

has_cache_keys = pytest.mark.skipif(
    find_spec("agents.run_internal.prompt_cache_key") is None,
    reason=f"openai-agents {version('openai-agents')} sends no prompt_cache_key of its own",
)


@has_cache_keys
@pytest.mark.parametrize("api", ["responses", "chat_completions"])
async def test_the_random_cache_key_is_not_what_is_asked(
    ground: Ground, provide: Provide, tally: Tally, api: Any
) -> None:
    @function_tool
    async def hold() -> str:
        """Stands still."""
        await tally.note("hold")
        return "ok"

    worker = Agent(name="worker", tools=[hold], model="gpt-5")
    calls: list[Call] = []
    provider = provide(
        noting(calls, Reply(tools=[("hold", {})]), Reply(tools=[("hold", {})]), "done")
    )
    models: ModelProvider = agents.OpenAIProvider(use_responses=api == "responses")
    app = App()

    @app.agent
    async def plain(text: str) -> Any:
        config = RunConfig(model_provider=models)  # no group: a key at random for each call of it
        return (await Runner.run(worker, text, run_config=config)).final_output

    tally.hold("hold")
    await ground.begin(app)
    run = await ground.start("plain", "go")
    await tally.reached("hold")
    await ground.stop()
    tally.release("hold")
    await ground.begin(app)
    assert await ground.result(run) == "done"
    keys = [call.body["prompt_cache_key"] for call in calls if "prompt_cache_key" in call.body]
    assert len(set(keys)) == 2, "one of each attempt: else this test shows nothing"
    assert len(calls) == 3
    assert not provider.counts().repeated
    assert set(await ground.warnings(run)) <= {"rerun"}


@has_cache_keys
async def test_a_run_keeps_its_cache_key_over_its_attempts(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    @function_tool
    async def hold() -> str:
        """Stands still."""
        await tally.note("hold")
        return "ok"

    calls: list[Call] = []
    provide(noting(calls, Reply(tools=[("hold", {})]), "done"))
    app = App()
    app.add(Agent(name="worker", tools=[hold], model="gpt-5"))
    tally.hold("hold")
    await ground.begin(app)
    run = await ground.start("worker", "go")
    await tally.reached("hold")
    await ground.stop()
    tally.release("hold")
    await ground.begin(app)
    assert await ground.result(run) == "done"
    first, second = (call.body["prompt_cache_key"] for call in calls)
    assert first == second, "so that the provider's cache is hit by the next attempt, too"


async def test_traces_are_exported_and_are_no_stray_model_calls(
    ground: Ground, provide: Provide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK posts its traces to api.openai.com from a thread of its own."""
    strays: list[str] = []
    posted: list[httpx2.Request] = []

    class Told:
        def stray(self, host: str) -> None:
            strays.append(host)

    capture = gateway.installed()
    assert capture is not None
    monkeypatch.setattr(capture, "strays", Told())
    provide("hello")
    exporter = BackendSpanExporter(max_retries=1)
    exporter._client.event_hooks = {"request": [posted.append]}
    processor = BatchTraceProcessor(exporter)
    tracing: Any = get_trace_provider()
    before = tracing._multi_processor._processors
    agents.set_tracing_disabled(False)
    agents.set_trace_processors([processor])
    try:
        app = App()
        app.add(Agent(name="greeter", model="gpt-5"))
        await ground.begin(app)
        run = await ground.start("greeter", "hi")
        assert await ground.result(run) == "hello"
        await asyncio.to_thread(processor.force_flush)
    finally:
        agents.set_trace_processors(list(before))
        processor.shutdown()
        exporter._client.close()
    assert {str(request.url) for request in posted} == {"https://api.openai.com/v1/traces/ingest"}
    assert strays == []
    assert len([e for e in await ground.store.journal(run) if e.kind == Kind.MODEL]) == 1
    items = [item for request in posted for item in orjson.loads(request.content)["data"]]
    (trace,) = [item for item in items if item["object"] == "trace"]
    assert (trace["workflow_name"], trace["group_id"]) == ("greeter", run)
