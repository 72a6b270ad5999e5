"""Where two runs part: what was asked, what came back, what only one of them did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from perdure.cli.offline.comparison import Comparison, compare
from perdure.cli.offline.document import Export
from perdure.cli.offline.sides import essence
from perdure.core.record import Record
from perdure.runtime.ticket import node
from perdure.store.rows import LogEvent
from tests.unit.cli.conftest import Call
from tests.unit.cli.test_waterfall import NOW, run


class Story:
    """A run that was recorded by hand."""

    def __init__(self, *, given: Any = 1, result: Any = 1, state: str = "succeeded") -> None:
        self.run = run(state, input=orjson.dumps(given), result=orjson.dumps(result))
        self.log: list[LogEvent] = []
        self.requests: dict[bytes, tuple[bytes, bytes]] = {}

    def effect(
        self, name: str, gave: Any, *, asked: Any = None, kind: str = "tool", branch: str = "",
        scope: str = "", state: str = "done", key: str | None = None,
    ) -> Story:  # fmt: skip
        digest = orjson.dumps(asked)
        fields: dict[str, Any] = {
            "key": (key or name).encode(), "scope": scope.encode(), "branch": branch,
            "kind": kind, "name": name, "digest": digest, "state": state,
        }  # fmt: skip
        if kind == "tool" and asked is not None:
            value = orjson.dumps({"arguments": asked})
            self._row(Record("entry", **{**fields, "state": "intent"}, value=value))
        if kind == "model":
            tip = b""
            for part in asked:
                parent, body = tip, orjson.dumps(part)
                tip = node(parent, body)
                self.requests[tip] = (parent, body)
            fields["request"] = tip
        self._row(Record("entry", **fields, value=orjson.dumps(gave)))
        return self

    def _row(self, record: Record) -> None:
        self.log.append(LogEvent(len(self.log) + 1, NOW, 1, *record))

    def export(self) -> Export:
        return Export(self.run, self.log, [], self.requests)


def part(a: Story, b: Story) -> Comparison:
    return compare(a.export(), b.export())


def test_runs_that_did_the_same_are_alike() -> None:
    a, b = (Story().effect("look", 1, asked={"n": 1}).effect("book", 2) for _ in "ab")
    found = part(a, b)
    assert (found.same, found.alike, found.first) == (True, 2, None)


def test_ids_that_providers_make_anew_are_no_difference() -> None:
    a, b = Story(), Story()
    for story, ids in ((a, "4f8e9386dc198c60334d59e8 83502775b2f1ba99cfe10ab0"),
                       (b, "b8fcbbfb2478161ca1689eb6 bb1001a39b938954a7bb74d4")):  # fmt: skip
        look, book = (f"step#1/call_{one}" for one in ids.split())
        calls = [("look", look), ("book", book)]
        for name, branch in calls if story is a else reversed(calls):
            story.effect(name, 1, asked={"n": 1}, branch=branch)
    assert part(a, b).same


def test_the_first_request_that_differs_is_shown_with_its_arguments() -> None:
    a = Story().effect("look", 1, asked={"n": 1}).effect("book", 2, asked={"seat": "4A"})
    b = Story().effect("look", 1, asked={"n": 1}).effect("book", 9, asked={"seat": "4B"})
    found = part(a, b)
    assert found.first is not None
    assert (found.first.how, found.alike) == ("request", 1)
    lines = found.first.diff("a", "b")
    assert '-  "seat": "4A"' in lines
    assert '+  "seat": "4B"' in lines
    document = found.first.to_dict("a", "b")
    assert (document["a"]["asked"], document["b"]["answer"]) == ({"seat": "4A"}, 9)


def test_the_first_answer_that_differs_is_where_they_part() -> None:
    a, b = Story().effect("look", {"price": 5}), Story().effect("look", {"price": 6})
    found = part(a, b)
    assert found.first is not None
    assert found.first.how == "answer"
    assert '-  "price": 5' in found.first.diff("a", "b")


@pytest.mark.parametrize(("swap", "how"), [(False, "only in a"), (True, "only in b")])
def test_what_only_one_of_them_did(swap: bool, how: str) -> None:
    more, less = Story().effect("look", 1).effect("book", 2), Story().effect("look", 1)
    found = part(less, more) if swap else part(more, less)
    assert found.first is not None
    assert found.first.how == how


def test_a_difference_inside_a_tool_names_what_is_around_it() -> None:
    a, b = (
        Story().effect("fetch", n, kind="step", scope="search").effect("search", n)
        for n in (1, 2)
    )  # fmt: skip
    found = part(a, b)
    assert found.first is not None
    assert (found.first.how, found.first.path) == ("answer", ("tool search",))
    assert found.first.a is not None
    assert found.first.a.name == "fetch"


def test_branches_that_ran_beside_each_other_have_no_order() -> None:
    a = Story().effect("x", 1, branch="/0", key="1").effect("y", 2, branch="/1", key="2")
    b = Story().effect("y", 2, branch="/0", key="3").effect("x", 1, branch="/1", key="4")
    assert part(a, b).same
    b.effect("z", 3, branch="/1")
    found = part(a, b)
    assert (found.alike, found.differences) == (2, 1)


def test_names_that_providers_make_anew_are_no_difference() -> None:
    def story(n: int, text: str) -> Story:
        answer = {
            "status": 200, "headers": [["request-id", str(n)]],
            "body": json.dumps({"id": f"msg_{n}", "content": [{"text": text}]}),
        }  # fmt: skip
        ask = [{"model": "claude"}, {"messages": [{"tool_use_id": f"toolu_{n}", "content": "hi"}]}]
        return Story().effect("claude", answer, asked=ask, kind="model")

    assert part(story(1, "yes"), story(2, "yes")).first is None
    found = part(story(1, "yes"), story(2, "no"))
    assert found.first is not None
    assert found.first.how == "answer"


def test_a_stream_is_its_text_however_it_was_cut() -> None:
    def stream(*pieces: str) -> Any:
        body = [{"type": "delta", "delta": {"text": piece}} for piece in pieces]
        return {"status": 200, "streamed": True, "body": body}

    assert essence(stream("he", "llo")) == essence(stream("h", "ello"))
    assert essence(stream("he", "llo")) != essence(stream("he", "y"))


def test_requests_are_put_together_from_their_parts() -> None:
    def story(*messages: str) -> Story:
        parts = [{"model": "m"}, *({"messages": [{"content": text}]} for text in messages)]
        return Story().effect("m", 1, asked=parts, kind="model")

    found = part(story("a", "b"), story("a", "c"))
    assert found.first is not None
    assert found.first.a is not None
    assert found.first.a.asked == {"model": "m", "messages": [{"content": "a"}, {"content": "b"}]}
    assert '-      "content": "b"' in found.first.diff("a", "b")


def test_inputs_and_ends_count_as_well() -> None:
    assert not part(Story(given=1), Story(given=2)).same
    assert not part(Story(result=1), Story(result=2)).same
    assert not part(Story(), Story(state="failed")).same


# -- the command ----------------------------------------------------------------------------------

AGENTS = """
import perdure

@perdure.tool
async def book(seat: str) -> str:
    return seat.lower()

async def clerk(text: str) -> str:
    return await book(text.upper())
"""


def test_runs_and_files_are_compared_with_the_exit_codes_of_diff(call: Call, folder: Path) -> None:
    (folder / "agents.py").write_text(AGENTS)
    for text in ("4a", "4a", "4b"):
        call("run", "agents.py:clerk", text)
    third, second, first = (r["id"] for r in call("runs", "list", "--json").json["runs"])
    alike = call("runs", "diff", first, second)
    assert (alike.code, "The effects are alike in both (1)." in alike.out) == (0, True)
    said = call("runs", "export", third, "third.json")
    assert said.code == 0, said
    differs = call("runs", "diff", first, "third.json")
    assert differs.code == 1
    assert "The inputs differ" in differs.out
    assert "tool book is asked for otherwise" in differs.out
    assert '-  "seat": "4A"' in differs.out
    said = call("runs", "diff", first, "third.json", "--json")
    report = json.loads(said.out)
    assert (said.code, report["same"], report["first"]["how"]) == (1, False, "request")
    assert report["first"]["a"]["asked"] == {"seat": "4A"}
    assert report["b"]["run"] == third
    assert call("runs", "diff", first, "none").code == 4
    assert call("runs", "diff", "third.json", "third.json").code == 0
