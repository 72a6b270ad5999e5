"""Plain functions that use the tools of frameworks and SDKs: their calls are effects too."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from inspect import signature
from typing import Any

import anthropic
import pytest
from anthropic import beta_async_tool, beta_tool
from anthropic.lib.tools import BetaFunctionTool, ToolError
from anthropic.resources.beta.messages import Messages as BetaMessages
from langchain_core.tools import BaseTool, tool

import perdure
from perdure import App, once, sync
from perdure.frameworks import patches
from perdure.testing.simulator import Reply
from tests.integration.stage import Provide, Tally, ground, provide, tally
from tests.running import Ground

__all__ = ["ground", "provide", "tally"]

DAY = timedelta(days=1)
# Older runners have no `thread`, and speak the plain Messages API as the newest do without one.
PLAIN: dict[str, Any] = (
    {"thread": False} if "thread" in signature(BetaMessages.tool_runner).parameters else {}
)


async def slept(ground: Ground, run: str) -> None:
    """Its sleep is over; what was before it is replayed."""
    await ground.until(run, "waiting")
    ground.store.shift_clock(2 * DAY)
    await ground.store.wake_due(100)


def text(content: Sequence[Any]) -> str:
    return "".join(block.text for block in content if block.type == "text")


async def test_langchain_tools_of_a_plain_function(ground: Ground) -> None:
    did: Counter[str] = Counter()

    @tool
    def search(query: str) -> str:
        """Searches."""
        did[query] += 1
        return query.upper()

    async def agent() -> list[Any]:
        found = [await search.ainvoke({"query": "sea"})]
        await perdure.sleep(DAY)
        return [*found, await search.ainvoke({"query": "moon"})]

    app = App()
    app.add(agent)
    await ground.begin(app)
    run = await ground.start("agent", None)
    await slept(ground, run)
    assert await ground.result(run) == ["SEA", "MOON"]
    assert did == {"sea": 1, "moon": 1}


@pytest.mark.parametrize("name", ["blocking", "loop"])
async def test_anthropics_tool_runner(ground: Ground, provide: Provide, name: str) -> None:
    """Sync and async, with a tool that refuses: the model is told, once, in the same words."""
    said = {"blocking": "three", "loop": "six"}[name]
    asked: list[tuple[str, dict[str, Any]]] = [("add", {"a": 1, "b": 2}), ("refuse", {})]
    if name == "loop":
        asked = [("times", {"a": 3, "b": 2})]
    sim = provide(Reply("", tools=asked), said)
    did: Counter[str] = Counter()

    @beta_tool
    def add(a: int, b: int) -> str:
        """Adds."""
        did["add"] += 1
        return str(a + b)

    @beta_tool
    def refuse() -> str:
        """Refuses."""
        did["refuse"] += 1
        raise ToolError([{"type": "text", "text": "not today"}])

    @beta_async_tool
    async def times(a: int, b: int) -> list[Any]:
        """Multiplies."""
        did["times"] += 1
        return [{"type": "text", "text": str(a * b)}]

    def blocking() -> str:
        client = anthropic.Anthropic(api_key="k")
        runner = client.beta.messages.tool_runner(
            model="claude-sonnet-5-5", max_tokens=100, tools=[add, refuse], **PLAIN,
            messages=[{"role": "user", "content": "add"}],
        )  # fmt: skip
        last = runner.until_done()
        sync.sleep(DAY)
        return text(last.content)

    async def loop() -> str:
        client = anthropic.AsyncAnthropic(api_key="k")
        runner = client.beta.messages.tool_runner(
            model="claude-sonnet-5-5", max_tokens=100, tools=[times], **PLAIN,
            messages=[{"role": "user", "content": "times"}],
        )  # fmt: skip
        last = await runner.until_done()
        await perdure.sleep(DAY)
        return text(last.content)

    app = App()
    app.add(blocking)
    app.add(loop)
    await ground.begin(app)
    run = await ground.start(name, None)
    await slept(ground, run)
    assert await ground.result(run) == said
    assert did == Counter(tool for tool, _ in asked)
    assert await ground.warnings(run) == []
    assert sim.counts().answered == 2
    assert not sim.counts().repeated


async def test_a_runners_once_is_reconciled_by_what_the_model_asked_for(
    ground: Ground, provide: Provide, tally: Tally
) -> None:
    asked: list[dict[str, Any]] = []

    async def reconcile(**arguments: Any) -> str:
        asked.append(arguments)
        return "paid before"

    @beta_async_tool
    async def pay(amount: int) -> str:
        """Pays."""
        await tally.note("pay")
        return "paid"

    async def agent() -> str:
        client = anthropic.AsyncAnthropic(api_key="k")
        runner = client.beta.messages.tool_runner(
            model="claude-sonnet-5-5", max_tokens=100, tools=[pay], **PLAIN,
            messages=[{"role": "user", "content": "pay"}],
        )  # fmt: skip
        return text((await runner.until_done()).content)

    provide(Reply("", tools=[("pay", {"amount": 5})]), "Paid.")
    app = App()
    app.add(agent, tools={"pay": once(reconcile=reconcile, timeout=timedelta(seconds=0.05))})
    tally.hold("pay")
    await ground.begin(app)
    run = await ground.start("agent", None)
    await tally.reached("pay")
    await ground.stop()
    tally.release("pay")
    ground.store.shift_clock(timedelta(seconds=10))
    await ground.begin(app)
    assert await ground.result(run) == "Paid."
    assert asked == [{"amount": 5}]
    assert tally.done == ["pay"]


def test_the_patches_come_out() -> None:
    patches.uninstall()
    without = BetaFunctionTool.call, BaseTool.run
    patches.install_imported()
    assert BetaFunctionTool.call is not without[0]
    assert BaseTool.run is not without[1]
    patches.uninstall()
    assert (BetaFunctionTool.call, BaseTool.run) == without
    patches.install_imported()


def test_what_is_not_imported_is_not_imported_for_it() -> None:
    code = (
        "import sys, perdure\nfrom perdure import App\nApp().add(lambda: 1, name='x')\n"
        "assert not {'langchain_core', 'anthropic', 'langgraph'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_outside_a_run_nothing_changes() -> None:
    patches.install_imported()

    @beta_tool
    def double(n: int) -> str:
        """Doubles."""
        return str(n * 2)

    assert double.call({"n": 2}) == "4"
    with pytest.raises(ValueError, match="Invalid arguments"):
        double.call({"n": "x"})
