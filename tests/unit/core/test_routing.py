"""Which targets may answer, in which order, and why."""

from __future__ import annotations

import pytest

from perdure.core.routing import Asked, Plan, Route, Standing, Target, draw, find, named, plan

A, B, C = Target(name="a"), Target(name="b"), Target(name="c")
CHAIN = Route(name="chain", targets=(A, B, C))


def told(found: Plan) -> list[tuple[str, str]]:
    return [(choice.target.name, choice.why) for choice in found.choices]


def test_targets_are_tried_in_their_order() -> None:
    assert told(plan(CHAIN, 0.5, {})) == [("a", "first"), ("b", "fallback"), ("c", "fallback")]


def test_a_broken_target_is_left_out_and_the_reason_is_told() -> None:
    found = plan(CHAIN, 0.5, {"a": Standing(open_until=90.0)})
    assert told(found) == [("b", "broken: a"), ("c", "fallback")]
    assert found.skipped == ((A, 90.0),)
    assert found.again is None


def test_where_all_are_broken_the_time_of_the_first_is_told() -> None:
    standings = {"a": Standing(90.0), "b": Standing(70.0), "c": Standing(80.0)}
    found = plan(CHAIN, 0.5, standings)
    assert (found.choices, found.again) == ((), 70.0)


def test_one_that_is_due_for_a_probe_keeps_its_place() -> None:
    found = plan(CHAIN, 0.5, {"a": Standing(probe=True)})
    assert found.choices[0].target is A
    assert found.choices[0].probe
    assert found.choices[0].why == "probe"
    assert not found.choices[1].probe


def test_weights_share_the_first_place() -> None:
    route = Route(
        name="r", targets=(Target(name="a", weight=9), Target(name="b", weight=1), Target(name="c"))
    )
    firsts = [plan(route, i / 100, {}).choices[0].target.name for i in range(100)]
    assert (firsts.count("a"), firsts.count("b")) == (90, 10)
    assert told(plan(route, 0.95, {})) == [
        ("b", "weight 1/10"), ("a", "fallback"), ("c", "fallback"),
    ]  # fmt: skip


def test_a_broken_target_leaves_its_weight_to_the_others() -> None:
    route = Route(name="r", targets=(Target(name="a", weight=9), Target(name="b", weight=1)))
    broken = {"a": Standing(open_until=9.0)}
    assert {plan(route, i / 10, broken).choices[0].target.name for i in range(10)} == {"b"}
    assert [t.name for t, _ in plan(route, 0.1, broken).skipped] == ["a"]
    both = {"a": Standing(open_until=9.0), "b": Standing(open_until=8.0)}
    assert plan(route, 0.1, both).again == 8.0


def test_rules_are_tried_in_their_order_and_all_must_fit() -> None:
    routes = (
        Route(name="long", model=("gpt-*",), min_prompt=1000, targets=(A,)),
        Route(
            name="short", model=("gpt-*",), max_prompt=10, agent=("clerk", "bot-*"), targets=(A,)
        ),
        Route(name="easy", difficulty=("easy",), tenant=("acme",), step=("plan",), targets=(A,)),
        Route(name="rest", model=("gpt-5",), targets=(A,)),
    )

    def first(**asked: object) -> str | None:
        found = find(routes, Asked(**{"model": "gpt-5", **asked}))  # type: ignore[arg-type]
        return found.name if found else None

    assert first(prompt=1000) == "long"
    assert first(prompt=999) == "rest"
    assert first(prompt=10, agent="clerk") == "short"
    assert first(prompt=11, agent="clerk") == "rest"
    assert first(prompt=10, agent="bot-7") == "short"
    assert first(prompt=50, difficulty="easy", tenant="acme", step="plan") == "easy"
    assert first(prompt=50, difficulty="easy", tenant="other", step="plan") == "rest"
    assert first(model="claude") is None
    assert named(routes, "easy") is routes[2]
    assert named(routes, "none") is None


@pytest.mark.parametrize("sticky", ["run", "session"])
def test_a_sticky_route_draws_the_same_for_the_same_run(sticky: str) -> None:
    route = Route(name="r", sticky=sticky, targets=(A, B))
    asked = [Asked("m", run=f"run-{i}", session=f"s-{i}") for i in range(500)]
    drawn = [draw(route, one, 0.5) for one in asked]
    assert drawn == [draw(route, one, 0.9) for one in asked]
    assert all(0 <= one < 1 for one in drawn)
    assert 200 < sum(one < 0.5 for one in drawn) < 300
    assert draw(route, Asked("m"), 0.25) == 0.25


def test_a_route_that_is_not_sticky_takes_chance() -> None:
    assert draw(CHAIN, Asked("m", run="r"), 0.75) == 0.75
