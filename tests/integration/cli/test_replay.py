"""``perdure replay`` as a process: pdb, a graph that calls a model, and no call at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.testing.simulator import ProviderSimulator
from tests.integration.cli.program import Place

PLAIN = """
import perdure

@perdure.step
async def add(a: int, b: int) -> int:
    return a + b

async def agent(n: int) -> int:
    first = await add(n, 1)
    second = await add(first, 2)
    return second

def blocking(n: int) -> int:
    twice = n * 2
    return twice

app = perdure.App()
app.add(agent)
app.add(blocking)

@app.agent(retry=perdure.RetryPolicy(attempts=1))
async def broken(n: int) -> int:
    third = await add(n, 3)
    raise ValueError(third)
"""

# The official client against its official host, which the simulator stands in for.
MODEL = """
import os
import anthropic
from perdure.testing.redirect import redirect

redirected = redirect({"api.anthropic.com": os.environ["SIMULATOR"]})
redirected.__enter__()
client = anthropic.AsyncAnthropic(api_key="none")

async def ask(text: str) -> str:
    answers = []
    for n in range(2):
        message = await client.messages.create(
            model="claude-sonnet-4-5", max_tokens=50,
            messages=[{"role": "user", "content": f"{text} {n}"}],
        )
        answers.append(message.content[0].text)
    return " | ".join(answers)
"""


def debug(place: Place, agent: str, typed: str) -> subprocess.CompletedProcess[str]:
    """Run the agent, then replay it under pdb with these commands."""
    (place.folder / "plain.py").write_text(PLAIN)
    place.run("run", "plain.py:app", "3", "--agent", agent)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
    command = ["replay", place.only_run()["id"], "plain.py:app", "--pdb"]
    return subprocess.run(
        [sys.executable, "-m", "perdure", *command],
        cwd=place.folder, env=env, input=typed, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_pdb_stops_at_the_first_line_and_steps_over_effects(place: Place) -> None:
    found = debug(place, "agent", "n\nn\np ('first', first, 'second', second)\nc\n")
    assert found.returncode == 0, found.stderr
    assert "-> first = await add(n, 1)" in found.stdout
    assert "('first', 4, 'second', 6)" in found.stdout


def test_pdb_stops_in_the_thread_of_synchronous_code(place: Place) -> None:
    found = debug(place, "blocking", "n\np ('twice', twice)\nc\n")
    assert found.returncode == 0, found.stderr
    assert "('twice', 6)" in found.stdout


def test_pdb_opens_again_where_the_agent_raised(place: Place) -> None:
    found = debug(place, "broken", "c\np ('third', third)\nq\n")
    assert found.returncode == 0, found.stderr
    assert "-> raise ValueError(third)" in found.stdout
    assert "('third', 6)" in found.stdout


def stopped_at(
    place: Place, effect: str, agent: str, typed: str, *, code: str = PLAIN
) -> subprocess.CompletedProcess[str]:
    """Replay the only run under pdb, from this effect on."""
    (place.folder / "changed.py").write_text(code)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
    command = ["replay", place.only_run()["id"], "changed.py:app", "--break-at", effect]
    return subprocess.run(
        [sys.executable, "-m", "perdure", *command],
        cwd=place.folder, env=env, input=typed, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_pdb_stops_at_an_effect_and_steps_over_it(place: Place) -> None:
    (place.folder / "plain.py").write_text(PLAIN)
    place.run("run", "plain.py:app", "3", "--agent", "agent")
    found = stopped_at(place, "add#2", "agent", "p ('first', first)\nn\np ('second', second)\nc\n")
    assert found.returncode == 0, found.stderr
    assert "step 'add' is about to be answered from the journal" in found.stderr
    assert "-> second = await add(first, 2)" in found.stdout
    assert "('first', 4)" in found.stdout
    assert "('second', 6)" in found.stdout
    # Where no such effect comes, that is said.
    missed = stopped_at(place, "nothing", "agent", "")
    assert "did not ask for 'nothing'" in missed.stderr


def test_pdb_stops_at_an_effect_of_synchronous_code(place: Place) -> None:
    code = PLAIN.replace("    twice = n * 2\n", "    twice = double(n)\n").replace(
        "async def agent", "@perdure.step\ndef double(n: int) -> int:\n    return n * 2\n\n"
        "async def agent",
    )  # fmt: skip
    (place.folder / "plain.py").write_text(code)
    place.run("run", "plain.py:app", "3", "--agent", "blocking")
    found = stopped_at(
        place, "step:double", "blocking", "p ('n', n)\nn\np ('twice', twice)\nc\n", code=code
    )
    assert found.returncode == 0, found.stderr
    assert "-> twice = double(n)" in found.stdout
    assert "('n', 3)" in found.stdout
    assert "('twice', 6)" in found.stdout


def test_pdb_stops_where_the_journal_has_no_answer(place: Place) -> None:
    (place.folder / "plain.py").write_text(PLAIN)
    place.run("run", "plain.py:app", "3", "--agent", "agent")
    changed = PLAIN.replace("await add(first, 2)", "await add(first, 20)")
    found = stopped_at(place, "none", "agent", "p ('first', first)\nc\n", code=changed)
    assert found.returncode == 1
    assert "asked for where step 'add' is recorded" in found.stderr
    assert "-> second = await add(first, 20)" in found.stdout
    assert "('first', 4)" in found.stdout


def test_leaving_the_debugger_ends_the_replay(place: Place) -> None:
    found = debug(place, "agent", "q\n")
    assert found.returncode == 130
    assert "Traceback" not in found.stderr


def test_model_calls_are_answered_from_the_journal_alone(place: Place, tmp_path: Path) -> None:
    pytest.importorskip("anthropic")
    (place.folder / "asking.py").write_text(MODEL)
    with ProviderSimulator() as simulator:
        env = {"SIMULATOR": simulator.url}
        code, out, err = place.run("run", "asking.py:ask", "hello", "--follow", env=env)
        assert code == 0, err
        assert err.count("✓ model") == 2
        sent = len(simulator.calls())
        assert sent == 2
        run_id = place.only_run()["id"]
        assert place.run("runs", "export", run_id, "run.json")[0] == 0
        code, again, err = place.run("replay", "run.json", "asking.py:ask", env=env)
        assert (code, again) == (0, out), err
        assert len(simulator.calls()) == sent
    # What was asked is in the export too.
    requests = json.loads((place.folder / "run.json").read_text())["requests"]
    assert any("hello 1" in json.dumps(request) for request in requests.values())


def test_a_graph_is_replayed_as_it_is(place: Place) -> None:
    pytest.importorskip("langgraph")
    (place.folder / "graphs.py").write_text(
        "import perdure\n"
        "from langgraph.graph import StateGraph, START, END\n"
        "from langgraph.checkpoint.memory import InMemorySaver\n"
        "from typing import TypedDict\n"
        "class State(TypedDict):\n    n: int\n"
        "@perdure.step\nasync def add(n: int) -> int:\n    print('performed', flush=True)\n"
        "    return n + 1\n"
        "async def node(state: State) -> State:\n    return {'n': await add(state['n'])}\n"
        "builder = StateGraph(State)\n"
        "builder.add_node('one', node)\nbuilder.add_node('two', node)\n"
        "builder.add_edge(START, 'one')\nbuilder.add_edge('one', 'two')\n"
        "builder.add_edge('two', END)\n"
        "graph = builder.compile(checkpointer=InMemorySaver())\n"
    )
    # The graph is the only agent object of the file: its name may be left out.
    code, out, err = place.run("run", "graphs.py", "--input", '{"n": 1}')
    assert code == 0, err
    assert err.count("performed") == 2
    run = place.only_run()
    assert (run["agent"], run["state"]) == ("graph", "succeeded")
    code, out, err = place.run("replay", run["id"], "graphs.py")
    assert code == 0, err
    assert json.loads(out) == {"n": 3}
