"""Requests that are taken back, and parts of an agent that a framework starts over."""

from __future__ import annotations

from perdure.core.branch import continues
from perdure.core.digest import digest, effect_key
from perdure.core.matching import Journal, Verdict
from perdure.core.record import Entry, EntryState, Kind, Promise


def entry(
    seq: int, branch: str, name: str, *, scope: bytes = b"", state: EntryState = EntryState.DONE
) -> Entry:
    content = digest(name.encode())
    key = effect_key(scope, branch, Kind.TOOL, name, content, 0)
    return Entry(
        seq, 1, key, scope, branch, b"", Kind.TOOL, name, content, 0, Promise.UNDECLARED, state,
        0, b"1", 1,
    )  # fmt: skip


def ask(journal: Journal, branch: str, name: str, scope: bytes = b"") -> tuple[Verdict, bytes]:
    match = journal.request(scope, branch, Kind.TOOL, name, digest(name.encode()))
    return match.verdict, match.key


def test_a_request_that_was_withdrawn_gets_its_key_again() -> None:
    journal = Journal()
    first = ask(journal, "a", "x")
    journal.withdrawn(b"", "a", Kind.TOOL, "x", digest(b"x"), 0)
    assert ask(journal, "a", "x") == first
    assert ask(journal, "a", "x") != first


def test_a_branch_that_starts_over_is_answered_like_the_first_time() -> None:
    before, inside = entry(1, "g#1/a", "x"), entry(2, "g#1/a", "y")
    nested = entry(3, "", "z", scope=inside.key)
    elsewhere = entry(4, "g#1/b", "x")
    journal = Journal()
    for branch, name in (("g#1/a", "x"), ("g#1/a", "y"), ("g#1/b", "x")):
        assert ask(journal, branch, name)[0] is Verdict.NEW
    journal.again([before, inside, nested, elsewhere], "g#1/a")
    assert ask(journal, "g#1/a", "x") == (Verdict.REPLAY, before.key)
    assert ask(journal, "g#1/a", "y") == (Verdict.REPLAY, inside.key)
    assert len(journal) == 0  # what is inside goes with it, and the other branch stays read
    verdict, key = ask(journal, "g#1/a", "x")
    assert (verdict, key == before.key) == (Verdict.NEW, False)


def test_what_was_done_in_a_withdrawn_tool_is_found_when_it_is_asked_again() -> None:
    journal = Journal()
    _, tool = ask(journal, "g#1/a", "tool")
    step = entry(2, "", "step", scope=tool)
    assert ask(journal, "", "step", tool)[0] is Verdict.NEW
    journal.withdrawn(b"", "g#1/a", Kind.TOOL, "tool", digest(b"tool"), 0)
    journal.again([step], "g#1/a")
    assert ask(journal, "g#1/a", "tool") == (Verdict.NEW, tool)
    assert ask(journal, "", "step", tool) == (Verdict.REPLAY, step.key)


def test_a_later_round_knows_how_an_earlier_one_ended_and_siblings_know_nothing() -> None:
    assert continues("g#2/b", "g#1/a/call")
    assert not continues("g#1/a", "g#2/b")
    assert not continues("g#1/b", "g#1/a")
    assert not continues("a/1", "a/0")
    assert continues("a", "a/0")
