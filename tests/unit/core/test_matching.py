"""What answers a request: the pure rules, place by place (K1-K7, F1)."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core.digest import digest
from perdure.core.matching import Changed, Journal, Match, Verdict
from perdure.core.record import Entry, EntryState, Kind, Promise, fold


class Log:
    """Writes a journal as an attempt would."""

    def __init__(self) -> None:
        self.rows: list[Entry] = []
        self.journal = Journal()

    def add(
        self,
        name: str,
        content: str = "",
        *,
        scope: bytes = b"",
        branch: str = "",
        kind: str = Kind.STEP,
        state: str = EntryState.DONE,
        promise: str = Promise.UNDECLARED,
    ) -> Entry:
        match = self.journal.request(scope, branch, kind, name, digest(content.encode()))
        assert match.verdict is Verdict.NEW
        entry = Entry(
            len(self.rows) + 1, 1, match.key, scope, branch, match.after, kind, name,
            digest(content.encode()), match.occurrence, promise, state, 0, b"1", 1,
        )  # fmt: skip
        self.rows.append(entry)
        self.journal.delivered(scope, branch, match.key)
        return entry

    def again(self, **options: Any) -> Journal:
        return Journal(fold(self.rows), **options)


def ask(
    journal: Journal,
    name: str,
    content: str = "",
    *,
    scope: bytes = b"",
    branch: str = "",
    kind: str = Kind.STEP,
    sure: bool = False,
) -> Match:
    match = journal.request(scope, branch, kind, name, digest(content.encode()), sure=sure)
    if match.entry is not None:
        journal.delivered(scope, branch, match.key)
    return match


def test_the_earliest_of_equals_answers_first() -> None:
    """K6."""
    log = Log()
    entries = [log.add("a"), log.add("b"), log.add("a")]
    journal = log.again()
    assert [ask(journal, n).entry for n in ("a", "b", "a")] == entries
    assert ask(journal, "a").verdict is Verdict.NEW
    assert len(journal) == 0
    assert [e.occurrence for e in entries] == [0, 0, 1]


def test_an_equal_entry_of_another_branch_answers_too() -> None:
    """K6: where its own has none; its own first."""
    log = Log()
    own, other = log.add("a", branch="x"), log.add("a", branch="y")
    journal = log.again()
    assert ask(journal, "a", branch="y").entry == other
    assert ask(journal, "a", branch="z").entry == own
    assert ask(journal, "a", branch="x").verdict is Verdict.NEW


def test_another_scope_never_answers() -> None:
    """K2, K6."""
    log = Log()
    outer = log.add("outer", state=EntryState.INTENT)
    log.add("inner", scope=outer.key)
    journal = log.again()
    assert ask(journal, "inner").verdict is not Verdict.REPLAY
    assert ask(journal, "outer").verdict is Verdict.INTENT
    assert ask(journal, "inner", scope=outer.key).verdict is Verdict.REPLAY


@pytest.mark.parametrize("state", [EntryState.DONE, EntryState.FAILED])
def test_a_parent_that_is_over_consumes_its_subtree(state: EntryState) -> None:
    """K2."""
    log = Log()
    outer = log.add("outer", state=state)
    inner = log.add("inner", scope=outer.key)
    log.add("innermost", scope=inner.key)
    log.add("after")
    journal = log.again()
    ask(journal, "outer")
    assert [e.name for e in journal.unread()] == ["after"]


@pytest.mark.parametrize("state", [EntryState.INTENT, EntryState.ABANDONED])
def test_a_parent_that_may_go_out_again_leaves_its_subtree(state: EntryState) -> None:
    """K2, F3: what was done inside it is not done twice; unless nobody will ask for it."""
    log = Log()
    outer = log.add("outer", state=state)
    inner = log.add("inner", scope=outer.key)
    log.add("innermost", scope=inner.key)
    journal = log.again()
    match = ask(journal, "outer")
    assert len(journal) == 2
    assert match.entry is not None
    journal.given_up(match.entry)
    assert len(journal) == 0


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (EntryState.DONE, Verdict.REPLAY),
        (EntryState.INTENT, Verdict.INTENT),
        (EntryState.ABANDONED, Verdict.ABANDONED),
    ],
)
def test_the_state_says_how_it_answers(state: EntryState, verdict: Verdict) -> None:
    log = Log()
    log.add("a", state=state)
    assert ask(log.again(), "a").verdict is verdict


def test_a_cut_effect_gets_its_own_number_again() -> None:
    """K6, K2: whichever of its equals are recorded, so that it finds what was done inside it."""
    log = Log()
    cut, kept = log.add("a"), log.add("a")
    inside = log.add("inner", scope=cut.key)
    log.rows = [kept, inside]
    journal = log.again()
    assert ask(journal, "a").entry == kept
    again = ask(journal, "a")
    assert (again.verdict, again.key) == (Verdict.NEW, cut.key)
    assert ask(journal, "inner", scope=again.key).entry == inside


def test_entries_of_other_branches_mean_nothing() -> None:
    """K6."""
    log = Log()
    log.add("a", branch="x")
    log.add("b", branch="x")
    journal = log.again()
    assert ask(journal, "c", branch="y").verdict is Verdict.NEW
    assert ask(journal, "d", branch="y").verdict is Verdict.NEW


# -- changed agents -------------------------------------------------------------------------------


def test_a_changed_model_call_reuses_the_answer_of_its_place() -> None:
    """K7."""
    log = Log()
    log.add("first")
    recorded = log.add("m", "v1", kind=Kind.MODEL)
    log.add("last")
    journal = log.again()
    ask(journal, "first")
    match = ask(journal, "m", "v2", kind=Kind.MODEL)
    assert (match.verdict, match.entry) == (Verdict.REUSE, recorded)
    assert ask(journal, "last").verdict is Verdict.REPLAY


def test_only_at_its_place() -> None:
    """K4, K7: after the same entry."""
    log = Log()
    log.add("first")
    log.add("m", "v1", kind=Kind.MODEL)
    assert ask(log.again(), "m", "v2", kind=Kind.MODEL).verdict is not Verdict.REUSE


def test_policies_of_changed_model_calls() -> None:
    """K7: redo and park."""
    log = Log()
    recorded = log.add("m", "v1", kind=Kind.MODEL)
    redo = ask(log.again(changed=Changed.REDO), "m", "v2", kind=Kind.MODEL)
    assert redo.verdict is Verdict.NEW
    assert redo.key != recorded.key
    park = ask(log.again(changed=Changed.PARK), "m", "v2", kind=Kind.MODEL)
    assert (park.verdict, park.entry) == (Verdict.DIVERGED, recorded)


@pytest.mark.parametrize("state", [EntryState.FAILED, EntryState.INTENT, EntryState.ABANDONED])
def test_only_an_answer_can_be_reused(state: EntryState) -> None:
    """K7."""
    log = Log()
    log.add("m", "v1", kind=Kind.MODEL, state=state)
    log.add("after")
    assert ask(log.again(), "m", "v2", kind=Kind.MODEL).verdict is Verdict.NEW


def test_what_was_asked_before_was_not_changed() -> None:
    """K7: it is asked once more, in a loop that now goes round more often."""
    log = Log()
    log.add("m", "one", kind=Kind.MODEL)
    log.add("m", "two", kind=Kind.MODEL)
    journal = log.again()
    ask(journal, "m", "one", kind=Kind.MODEL)
    assert ask(journal, "m", "one", kind=Kind.MODEL).verdict is Verdict.NEW


def test_what_an_operator_answered_is_taken_for_what_is_asked_now() -> None:
    """K7: by a tool or step alone at its place; anything else has to be asked about again."""
    log = Log()
    recorded = log.add("t", "v1", kind=Kind.TOOL, promise=Promise.ONCE)
    assert ask(log.again(), "t", "v2", kind=Kind.TOOL).verdict is Verdict.DIVERGED
    log.rows.append(recorded._replace(seq=2, epoch=2, value=b"2"))
    for kind, name in ((Kind.TOOL, "t"), (Kind.STEP, "s")):
        match = ask(log.again(), name, "v2", kind=kind)
        assert match.verdict is Verdict.REUSE
        assert match.entry is not None
        assert (match.entry.key, match.entry.value) == (recorded.key, b"2")
    assert ask(log.again(), "m", "v2", kind=Kind.MODEL).verdict is Verdict.DIVERGED
    assert ask(log.again(), "t", "v1", kind=Kind.TOOL).verdict is Verdict.REPLAY


@pytest.mark.parametrize(
    ("kind", "promise", "verdict"),
    [
        (Kind.STEP, Promise.UNDECLARED, Verdict.DIVERGED),
        (Kind.STEP, Promise.READS, Verdict.NEW),
        (Kind.TOOL, Promise.IDEMPOTENT, Verdict.DIVERGED),
        (Kind.TOOL, Promise.ONCE, Verdict.DIVERGED),
        (Kind.TOOL, Promise.READS, Verdict.NEW),
        (Kind.RUN, Promise.IDEMPOTENT, Verdict.DIVERGED),
        (Kind.SLEEP, Promise.READS, Verdict.NEW),
        (Kind.CLOCK, Promise.READS, Verdict.NEW),
    ],
)
@pytest.mark.parametrize("asked", [Kind.STEP, Kind.TOOL, Kind.MODEL, Kind.SLEEP])
def test_something_else_where_the_world_may_have_been_touched(
    kind: str, promise: str, verdict: Verdict, asked: str
) -> None:
    """K7: a tool or step is never matched loosely."""
    log = Log()
    log.add("recorded", kind=kind, promise=promise)
    assert ask(log.again(), "asked", kind=asked).verdict is verdict


def test_a_sibling_is_not_sure_before_the_others_asked() -> None:
    """K7: they are told apart by arrival only."""
    log = Log()
    a = log.add("m", "a", branch="/0", kind=Kind.MODEL)
    b = log.add("m", "b", branch="/1", kind=Kind.MODEL)
    journal = log.again()
    assert ask(journal, "m", "b2", branch="/0", kind=Kind.MODEL).verdict is Verdict.UNSURE
    assert ask(journal, "m", "a", branch="/1", kind=Kind.MODEL).entry == a
    journal.reconsider()
    match = ask(journal, "m", "b2", branch="/0", kind=Kind.MODEL, sure=True)
    assert (match.verdict, match.entry) == (Verdict.REUSE, b)


def test_two_unsure_ones_could_each_be_the_one() -> None:
    """K7: exactly one candidate on each side, or it is not reuse."""
    log = Log()
    log.add("m", "a", branch="/0", kind=Kind.MODEL)
    journal = log.again()
    for branch, content in (("/0", "x"), ("/1", "y")):
        assert ask(journal, "m", content, branch=branch, kind=Kind.MODEL).verdict is Verdict.UNSURE
    journal.reconsider()
    first = ask(journal, "m", "x", branch="/0", kind=Kind.MODEL, sure=True)
    assert first.verdict is Verdict.NEW


def test_a_note_is_recorded_or_new_and_says_nothing_else() -> None:
    """Clock, randomness and events beside what touched the world."""
    log = Log()
    log.add("touched", branch="/0")
    clock = log.add("now", branch="/0", kind=Kind.CLOCK)
    journal = log.again()
    found = journal.note(b"", "/1", Kind.CLOCK, "now", digest(b""))
    assert (found.verdict, found.entry) == (Verdict.REPLAY, clock)
    new = journal.note(b"", "/1", Kind.CLOCK, "now", digest(b""))
    assert new.verdict is Verdict.NEW
    assert new.key not in (b"", clock.key)
    assert ask(journal, "touched", branch="/0").verdict is Verdict.REPLAY


# -- failures -------------------------------------------------------------------------------------


def test_a_failure_nobody_went_on_after_is_as_if_void() -> None:
    """F1."""
    log = Log()
    failed = log.add("a", state=EntryState.FAILED)
    match = ask(log.again(), "a")
    assert (match.verdict, match.key) == (Verdict.NEW, failed.key)


@pytest.mark.parametrize(
    ("failed", "later", "kept"),
    [("", "", True), ("/0", "", True), ("/0", "/1", False), ("", "/0", False),
     ("n#1/0", "n#2", True), ("n#2", "n#1", False)],
)  # fmt: skip
def test_a_failure_is_kept_where_a_later_request_knows_of_it(
    failed: str, later: str, kept: bool
) -> None:
    """F1: a later request in the same branch, or of one that joined it."""
    log = Log()
    log.add("fails", branch=failed, state=EntryState.FAILED)
    log.add("later", branch=later)
    match = ask(log.again(), "fails", branch=failed, sure=True)
    assert (match.verdict is Verdict.FAILED) is kept


def test_an_earlier_request_is_no_going_on() -> None:
    """F1."""
    log = Log()
    log.add("before")
    log.add("fails", state=EntryState.FAILED)
    journal = log.again()
    ask(journal, "before")
    assert ask(journal, "fails").verdict is Verdict.NEW


def test_a_request_in_another_scope_is_no_going_on() -> None:
    """F1, K2."""
    log = Log()
    outer = log.add("outer", state=EntryState.INTENT)
    log.add("fails", scope=outer.key, state=EntryState.FAILED)
    log.add("elsewhere")
    journal = log.again()
    ask(journal, "outer")
    assert ask(journal, "fails", scope=outer.key).verdict is Verdict.NEW


def test_a_faithful_journal_keeps_every_failure() -> None:
    log = Log()
    log.add("a", state=EntryState.FAILED)
    assert ask(log.again(faithful=True), "a").verdict is Verdict.FAILED


def test_folding_takes_the_last_row_of_a_key_in_the_order_of_the_first() -> None:
    """K1, F1: a void row takes its key out, a later one starts it anew."""
    log = Log()
    a, b, c = log.add("a", state=EntryState.INTENT), log.add("b"), log.add("c")
    rows = [
        a, b, a._replace(seq=4, state=EntryState.DONE), c,
        b._replace(seq=5, state=EntryState.VOID),
    ]  # fmt: skip
    assert [(e.name, e.state, e.seq) for e in fold(rows)] == [("a", "done", 4), ("c", "done", 3)]
    again = [*rows, b._replace(seq=6)]
    assert [e.name for e in fold(again)] == ["a", "c", "b"]
