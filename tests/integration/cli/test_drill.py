"""``perdure drill`` as a process, against targets of a simulated provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from signal import SIGINT
from typing import Any

import pytest

from perdure.testing.simulator import Call, Fault, ProviderSimulator, Reply
from tests.integration.cli.program import Place

KEYS = {"EAST": "sk-east", "WEST": "sk-west"}
QUESTIONS = """
{"id": "capital", "input": "Capital of France?", "expect": {"contains": "paris"}}
{"id": "sum", "input": "2+2?", "system": "Numbers only.", "expect": {"regex": "4"}}
{"input": [{"role": "user", "content": "Capital?"}], "expect": "Paris, or 4"}
"""


def brain(call: Call) -> Reply:
    hard = "2+2" in str(call.messages[-1])
    return Reply("I do not know" if hard and "haiku" in call.model else "Paris, or 4")


@pytest.fixture
def sim(place: Place) -> Iterator[ProviderSimulator]:
    with ProviderSimulator(brain, targets=("east", "west")) as sim:
        east, west = sim.target_url("east"), sim.target_url("west")
        (place.folder / "perdure.toml").write_text(
            f"""
            [gateway]
            silence = "1s"
            [keys.east]
            env = "EAST"
            [keys.west]
            env = "WEST"
            [[routes]]
            name = "claude"
            model = ["claude-sonnet-4-5", "claude-*"]
            targets = [
              {{ name = "east", base_url = "{east}", key = "east" }},
              {{ name = "west", base_url = "{west}", key = "west", model = "claude-haiku-4-5" }},
            ]
            """
        )
        (place.folder / "eval.jsonl").write_text(QUESTIONS)
        yield sim


def drill(place: Place, *args: str) -> tuple[int, str, str]:
    return place.run("drill", "failover", "--max-latency-ratio", "1000", *args, env=KEYS)


def test_an_eval_set_through_both(place: Place, sim: ProviderSimulator) -> None:
    code, out, err = drill(place, "--eval", "eval.jsonl", "--json")
    assert out, err
    found: Any = json.loads(out)
    assert (code, found["verdict"], found["traffic"]) == (1, "fail", None), err
    east, west = found["eval"]["sides"]
    assert (east["target"], east["answered"], east["quality"]) == ("east", 3, 1.0)
    assert (west["target"], west["answered"], west["quality"]) == ("west", 3, 0.6667)
    assert 0 < west["cost_per_call_usd"] < east["cost_per_call_usd"]
    checks = {check["name"]: check["passed"] for check in found["eval"]["checks"]}
    assert checks == {"success": True, "latency": True, "cost": True, "quality": False}
    wrong = [one for one in found["eval"]["answers"] if not one["score"]]
    assert [(one["id"], one["target"], one["answer"]) for one in wrong] == [
        ("sum", "west", "I do not know")
    ]
    assert {(call.target, call.model) for call in sim.calls()} == {
        ("east", "claude-sonnet-4-5"),
        ("west", "claude-haiku-4-5"),
    }
    costs = place.json("costs", "--by", "feature,target", "--json")["costs"]
    assert {tuple(row["group"].values()): row["calls"] for row in costs} == {
        ("drill", "east"): 3,
        ("drill", "west"): 3,
    }


def test_good_enough(place: Place, sim: ProviderSimulator) -> None:
    code, out, err = drill(place, "--eval", "eval.jsonl", "--min-quality", "0.6")
    assert code == 0, err
    assert out.splitlines()[-1] == "PASS"
    assert "✓ west quality" in out


@pytest.mark.parametrize("kind", ["500", "hang"])
def test_a_fallback_that_does_not_answer(place: Place, sim: ProviderSimulator, kind: Any) -> None:
    sim.set_faults([Fault(kind)], target="west")
    code, out, err = drill(place, "--eval", "eval.jsonl", "--min-quality", "0", "--json")
    assert out, err
    found: Any = json.loads(out)
    assert code == 1, err
    assert [side["answered"] for side in found["eval"]["sides"]] == [3, 0]
    assert sum(call.target == "west" for call in sim.calls()) == 3  # nothing is tried twice


def test_a_judge(place: Place, sim: ProviderSimulator) -> None:
    (place.folder / "judge.py").write_text(
        "import json, sys\n"
        "asked = json.load(sys.stdin)\n"
        "assert set(asked) == {'id', 'request', 'expect', 'target', 'answer'}\n"
        "print(0.5 if asked['target'] == 'west' else 1)\n"
    )
    asked = ("--eval", "eval.jsonl", "--judge", "python judge.py")
    code, out, err = drill(place, *asked, "--min-quality", "0.5")
    assert code == 0, err
    assert "0.50" in out
    (place.folder / "judge.py").write_text("print('good')")
    code, _, err = drill(place, *asked)
    assert code == 2
    assert "gave no score" in err


def test_ctrl_c_ends_a_drill_of_real_traffic(place: Place, sim: ProviderSimulator) -> None:
    place.run("db", "upgrade")
    args = ("drill", "failover", "--percent", "10", "--for", "1h")
    with place.start(*args, env=KEYS) as program:
        program.until("10 % of claude's runs go to west first")
        [one] = place.json("drill", "status", "--json")["drills"]
        assert (one["route"], one["target"], one["percent"]) == ("claude", "west", 10.0)
        code, _, err = place.run(*args, env=KEYS)
        assert code == 5
        assert "drilled already" in err
        program.tell(SIGINT)
        assert program.ended() == 130
        assert program.out[-1] == "STOPPED"
    assert place.json("drill", "status", "--json")["drills"] == []


def test_someone_else_may_stop_it(place: Place, sim: ProviderSimulator) -> None:
    place.run("db", "upgrade")
    with place.start("drill", "failover", "--percent", "10", "--for", "1h", env=KEYS) as program:
        program.until("10 % of claude's runs")
        assert place.run("drill", "stop", "claude")[0] == 0
        assert program.ended() == 1  # no call went there: nothing is proven
        assert program.out[-1] == "FAIL"
    assert place.run("drill", "stop", "claude")[0] == 4


def test_what_cannot_be_drilled(place: Place, sim: ProviderSimulator) -> None:
    for args, says in (
        ((), "Nothing to drill with"),
        (("--percent", "10", "--judge", "x"), "--eval FILE"),
        (("--percent", "10", "--route", "nothing"), "no route 'nothing'"),
        (("--percent", "10", "--target", "east"), "no fallback"),
    ):
        code, _, err = drill(place, *args)
        assert code in (2, 4)
        assert says in err
