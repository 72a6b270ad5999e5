"""Names of branches as people see them."""

from __future__ import annotations

from uuid import UUID

import pytest

from perdure.cli.branches import is_beside, short


def test_rounds_and_ids_say_nothing_to_people() -> None:
    whole = ["", "/0", "/1/0", "graph#2/research.2", "graph#4/ask/graph#1/model"]
    assert list(short(whole).values()) == ["", "0", "1/0", "research.2", "ask/model"]
    call = "graph#4/ask/graph#2/tools.0/toolu_4f8e9386dc198c60334d59e8"
    assert short([call]) == {call: "ask/tools.0"}


def test_calls_that_only_their_ids_tell_apart_are_numbered() -> None:
    a, b = "tools/call_4f8e9386dc198c60334d59e8", "tools/call_83502775b2f1ba99cfe10ab0"
    assert short([a, a, b]) == {a: "tools/0", b: "tools/1"}
    a, b = "/pyd_ai_4f8e9386dc198c60334d", "/019f0000-4040-7314-b2de-91c863d284ba"
    assert short([a, b]) == {a: "0", b: "1"}
    assert short([a]) == {a: ""}


@pytest.mark.parametrize(
    "name",
    ["call_AbCdEfGhIjKlMnOpQrStUvWx", "toolu_01A09q90qw90lq917835lq9", "adk-" + str(UUID(int=7)),
     "pyd_ai_0f8fad5bd9cb469fa16570867728950e", str(UUID(int=7))],
)  # fmt: skip
def test_ids_of_calls(name: str) -> None:
    assert short([f"step#1/{name}"]) == {f"step#1/{name}": ""}


@pytest.mark.parametrize(
    "name", ["research_topic_number_2", "summarise", "ResearchOneTopic.2", "0"]
)
def test_names_that_are_no_ids(name: str) -> None:
    assert short([f"graph#1/{name}"]) == {f"graph#1/{name}": name}


def test_a_long_name_is_no_id() -> None:
    assert short(["graph#1/research_one_topic_at_a_time"]) == {
        "graph#1/research_one_topic_at_a_time": "research_one_topic_at_a_time"
    }


def test_what_adapters_tell_is_beside_the_agent() -> None:
    assert is_beside("events/nodes")
    assert is_beside("/events")
    assert not is_beside("graph#1/events")
    assert not is_beside("")
