"""Every command with --json prints what docs/json.toml promises: those fields, of those types, and
no others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import httpx2
import orjson
import pytest

from docs import generate
from perdure.cli.main import main
from perdure.demo.figures import Column, Figures
from perdure.store import make_store
from perdure.store.ids import new_run_id
from perdure.store.rows import NewRun
from perdure.testing.local import LocalRuns
from perdure.testing.simulator import Limit, ProviderSimulator, Quota
from tests.inside import workplace

PROMISED = generate.json_promises()

AGENTS = """
import perdure

app = perdure.App()

@perdure.step
async def half(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2

@app.agent(fatal=(ValueError,))
async def halve(n: int) -> int:
    return await half(n)

@app.agent(durability="none")
async def fleeting(x: str) -> bytes:
    return b"\\x00"
"""

PAYER = """
import perdure

@perdure.tool(effect="once")
async def pay(n: int) -> str:
    raise RuntimeError("the line broke")

async def payer(n: int) -> str:
    return await pay(n)
"""

PLAIN: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "int": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "bool": lambda value: isinstance(value, bool),
    "time": lambda value: datetime.fromisoformat(value).tzinfo is not None,
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}


def check(value: Any, kind: str, where: str) -> None:
    """Fails where ``value`` is not of the promised ``kind``."""
    if kind.endswith("?"):
        if value is None:
            return
        kind = kind.removesuffix("?")
    if kind.endswith("[]"):
        assert isinstance(value, list), where
        for item in value:
            check(item, kind.removesuffix("[]"), f"{where}[]")
        return
    if kind in PLAIN:
        assert PLAIN[kind](value), (where, kind, value)
        return
    fields = PROMISED["documents"][kind]["fields"]
    assert isinstance(value, dict), where
    needed = {name for name in fields if not name.startswith("?")}
    assert needed <= value.keys(), (where, needed - value.keys())
    assert value.keys() <= {name.removeprefix("?") for name in fields}, (where, value.keys())
    for name, item in value.items():
        check(item, fields.get(name, fields.get(f"?{name}"))[0], f"{where}.{name}")


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., list[Any]]]:
    """What a command prints, as JSON values: one document, or lines."""

    def say(*args: str, lines: bool = False) -> list[Any]:
        capsys.readouterr()
        main(args)
        captured = capsys.readouterr()
        try:
            texts = captured.out.splitlines() if lines else [captured.out]
            return [json.loads(text) for text in texts]
        except ValueError:
            raise AssertionError(f"{args}: {captured.out!r} {captured.err!r}") from None

    with workplace(tmp_path, monkeypatch):
        (tmp_path / "cases.py").write_text(AGENTS)
        yield say


async def enqueue(agent: str, value: bytes) -> None:
    """A run that nobody has begun."""
    store = make_store("sqlite:///.perdure/perdure.db")
    await store.open()
    await store.enqueue([NewRun(new_run_id(), agent, value, queue=agent)])
    await store.close()


def documents(values: list[Any], command: str) -> None:
    """They are what the command is promised to print."""
    for value in values:
        check(value, PROMISED["commands"][command][0], command)


def run(agent: str, value: str) -> tuple[str, ...]:
    return ("run", "cases.py:app", "--agent", agent, "--input", value, "--json")


def test_runs(said: Callable[..., list[Any]]) -> None:
    (done,) = said(*run("halve", "8"))
    check(done, "whole_run", "run")
    (failed,) = said(*run("halve", "7"))
    check(failed, "whole_run", "run")
    assert failed["error"]["message"] == "7 is odd"
    (fleeting,) = said(*run("fleeting", '"x"'))
    check(fleeting, "unstored_run", "run")
    assert fleeting["result_encoding"] == "base64"
    *events, last = said(*run("halve", "4"), "--follow", lines=True)
    for event in events:
        check(event, "event", "run --follow")
    check(last, "whole_run", "run --follow")
    documents(said("runs", "list", "--json"), "perdure runs list")
    for one in (done, failed):
        documents(said("runs", "show", one["id"], "--json"), "perdure runs show")
    *events, last = said("runs", "watch", failed["id"], "--json", lines=True)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    check(last, "whole_run", "runs watch")
    documents(said("runs", "redrive", failed["id"], "--json"), "perdure runs redrive")
    documents(said("runs", "signal", failed["id"], "go", "1", "--json"), "perdure runs signal")
    documents(said("signal", failed["id"], "go", "--json"), "perdure signal")
    documents(said("runs", "cancel", failed["id"], "--json"), "perdure runs cancel")
    for event in said("runs", "events", done["id"], lines=True):
        check(event, "event", "runs events")


async def test_a_run_that_waits_for_an_answer(said: Callable[..., list[Any]]) -> None:
    names: dict[str, Any] = {"__name__": "payer"}
    exec(PAYER, names)
    async with LocalRuns(names["payer"], name="payer") as runs:
        run_id = await runs.start("payer", 1)
        await runs.until(run_id, "waiting")

        async def told(*args: str) -> list[Any]:
            return await asyncio.to_thread(said, *args, "--json", "--store", runs.store.url)

        (found,) = await told("runs", "list")
        check(found, "runs", "runs list")
        assert found["runs"][0]["waits"]
        documents(await told("runs", "show", run_id), "perdure runs show")
        answered = await told("runs", "resolve", run_id, "--result", '"paid"')
        documents(answered, "perdure runs resolve")


def test_replay(said: Callable[..., list[Any]]) -> None:
    for value in ("8", "7"):
        (done,) = said(*run("halve", value))
        replayed = said("replay", done["id"], "cases.py:halve", "--json")
        documents(replayed, "perdure replay")


def test_differences(said: Callable[..., list[Any]]) -> None:
    found = [said(*run("halve", value))[0]["id"] for value in ("8", "6")]
    documents(said("runs", "diff", *found, "--json"), "perdure runs diff")
    documents(said("runs", "diff", found[0], found[0], "--json"), "perdure runs diff")


def test_everything_else(said: Callable[..., list[Any]]) -> None:
    documents(said("db", "upgrade", "--json"), "perdure db upgrade")
    said(*run("halve", "8"))
    documents(said("db", "check", "--json"), "perdure db check")
    documents(said("db", "stats", "--json"), "perdure db stats")
    documents(said("db", "prune", "--older-than", "1h", "--dry-run", "--json"), "perdure db prune")
    documents(said("db", "backup", "copy.db", "--json"), "perdure db backup")
    asyncio.run(enqueue("halve", b"8"))
    (rehearsed,) = said("check", "cases.py:app", "--json")
    documents([rehearsed], "perdure check")
    assert rehearsed["runs"]
    documents(said("keys", "create", "ci", "--json"), "perdure keys create")
    documents(said("keys", "list", "--json"), "perdure keys list")
    documents(said("limits", "--json"), "perdure limits")
    documents(said("costs", "--json"), "perdure costs")
    documents(said("budgets", "--json"), "perdure budgets")
    documents(said("halt", "agent", "halve", "--json"), "perdure halt agent")
    documents(said("halt", "tenant", "acme", "--json"), "perdure halt tenant")
    documents(said("halt", "list", "--json"), "perdure halt list")
    documents(said("routes", "--json"), "perdure routes")
    documents(said("drill", "status", "--json"), "perdure drill status")
    documents(said("config", "show", "--json"), "perdure config show")
    documents(said("init", "new", "--json"), "perdure init")


ROUTED = """
[keys.any]
env = "ANY_KEY"
[[routes]]
name = "claude"
model = "claude-sonnet-4-5"
targets = [{{ name = "east", base_url = "{0}/east", key = "any" }},
           {{ name = "west", base_url = "{0}/west", key = "any", model = "claude-haiku-4-5" }}]
"""


def test_a_drill(
    said: Callable[..., list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANY_KEY", "sk-any")
    (tmp_path / "eval.jsonl").write_text('{"input": "hi", "expect": {"contains": "hi"}}')
    with ProviderSimulator() as sim:
        (tmp_path / "perdure.toml").write_text(ROUTED.format(sim.url))
        options = ("--percent", "5", "--for", "100ms", "--max-latency-ratio", "1000", "--json")
        drilled = said("drill", "failover", "--eval", "eval.jsonl", *options)
        documents(drilled, "perdure drill failover")
        assert drilled[0]["eval"]["checks"]
        assert drilled[0]["traffic"]["checks"]
        routes = said("routes", "--json")
        documents(routes, "perdure routes")
        assert routes[0]["routes"][0]["targets"][0]["calls"] == 1


def test_demo() -> None:
    """It takes too long to be run here; what it prints are these two classes, as they are."""
    for document, cls in (("figures", Figures), ("side", Column)):
        assert set(PROMISED["documents"][document]["fields"]) == {f.name for f in fields(cls)}


def test_the_simulated_provider() -> None:
    with ProviderSimulator(limits=[Quota((Limit("requests", 60),))]) as provider:
        body = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": ""}]}
        httpx2.post(f"{provider.url}/v1/messages", json=body, headers={"x-api-key": "k"})
        found = json.loads(orjson.dumps(provider.accounting().to_dict()))
    documents([found], "perdure simulate provider")
    assert found["total"]["requests"] == 1


def test_no_command_is_left_out() -> None:
    printing = {
        name
        for name, command in generate.commands()
        if any(isinstance(p, click.Option) and "--json" in p.opts for p in command.params)
    }
    assert printing == PROMISED["commands"].keys()
