"""Replay: which journal entry answers a request of the agent (rules K1-K7, F1).

:class:`Journal` is a pure state machine. It is made from a run's folded entries, is asked once
for each effect the agent requests, in any order that concurrency brings, and answers with a
:class:`Match`. Invariants: an entry answers at most one request; entries of other branches that
are still unread never mean anything; a tool or step is never answered by an entry that was not
recorded for exactly this request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from perdure.core.branch import continues, stable, under
from perdure.core.digest import effect_key
from perdure.core.record import Entry, EntryState, Kind, Promise


class Verdict(StrEnum):
    NEW = "new"  # nothing recorded: perform it
    REPLAY = "replay"  # done: answer with the entry's value
    FAILED = "failed"  # answer with the recorded failure
    INTENT = "intent"  # it may have happened: the promise decides
    ABANDONED = "abandoned"  # block as long as it was let run (F3)
    REUSE = "reuse"  # the agent changed; the entry of this place answers all the same (K7)
    DIVERGED = "diverged"  # the agent changed where the world may have been touched: ask
    UNSURE = "unsure"  # a sibling may still ask for what is recorded: see whether anything moves


class Changed(StrEnum):
    """What a changed model call is answered with (K7)."""

    REUSE = "reuse"
    REDO = "redo"
    PARK = "park"


class Match(NamedTuple):
    """The answer to a request. ``key``, ``after`` and ``occurrence`` go into the new record;
    for an answered request they are the entry's own."""

    verdict: Verdict
    entry: Entry | None
    key: bytes
    after: bytes
    occurrence: int


_ANSWER = {
    EntryState.DONE: Verdict.REPLAY,
    EntryState.FAILED: Verdict.FAILED,
    EntryState.INTENT: Verdict.INTENT,
    EntryState.ABANDONED: Verdict.ABANDONED,
}

_CALLS = (Kind.TOOL, Kind.STEP)  # their results are values of the agent's own

_Identity = tuple[bytes, str, str, str, bytes]  # scope, stable branch, kind, name, digest
# scope, then after; at a branch's beginning its stable path, which siblings that are told apart
# only by the order in which they arrive have in common
_Place = tuple[bytes, bytes | str]


def _place(scope: bytes, branch: str, after: bytes) -> _Place:
    """An entry is delivered in one branch only, so what comes after it names a place whatever
    the branch is called this time."""
    return (scope, after or stable(branch))


class Journal:
    """The unread part of a run's journal, and where each branch stands."""

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        *,
        changed: Changed = Changed.REUSE,
        faithful: bool = False,
        generation: int = 1,
    ) -> None:
        """``entries`` are folded (``core.record.fold``), in order of their first row.

        Failures the agent did not go on after are left out, as if void (F1), unless ``faithful``:
        an offline replay fails where the run failed. Keys of a later ``generation`` of the run are
        its own, though it may ask for the same.
        """
        self._root = b"" if generation == 1 else str(generation).encode()
        self._changed = changed
        self._faithful = faithful
        self._recorded: dict[_Identity, set[int]] = {}
        self._next: dict[_Identity, int] = {}
        self._after: dict[tuple[bytes, str], bytes] = {}
        self._unsure = 0
        self._read_anew(self._kept(entries))

    def _kept(self, entries: Iterable[Entry]) -> list[Entry]:
        return list(entries) if self._faithful else _without_open_failures(list(entries))

    def _read_anew(self, kept: list[Entry]) -> None:
        self._unread: dict[bytes, Entry] = {entry.key: entry for entry in kept}
        self._here: dict[_Identity, deque[Entry]] = {}
        self._anywhere: dict[tuple[bytes, str, str, bytes], deque[Entry]] = {}
        self._places: dict[_Place, list[Entry]] = {}
        self._children: dict[bytes, list[Entry]] = {}
        for entry in kept:
            identity = _identity(entry)
            self._here.setdefault(identity, deque()).append(entry)
            loose = (entry.scope, entry.kind, entry.name, entry.digest)
            self._anywhere.setdefault(loose, deque()).append(entry)
            place = _place(entry.scope, entry.branch, entry.after)
            self._places.setdefault(place, []).append(entry)
            if entry.scope:
                self._children.setdefault(entry.scope, []).append(entry)
            self._recorded.setdefault(identity, set()).add(entry.occurrence)

    def __len__(self) -> int:
        """How many entries are unread."""
        return len(self._unread)

    def unread(self) -> list[Entry]:
        """Entries that no request has taken yet, in journal order."""
        return list(self._unread.values())

    def request(
        self, scope: bytes, branch: str, kind: str, name: str, digest: bytes, *, sure: bool = False
    ) -> Match:
        """What answers this request (K6, K7). Takes the entry it answers with.

        ``UNSURE`` asks the caller to come again: as soon as another request was answered, or,
        when nothing moves any more, with ``sure=True``; then whoever could have asked for what is
        recorded here would have done so.
        """
        after = self._after.get((scope, branch), b"")
        if self._unread:
            entry = self._recorded_for(scope, branch, kind, name, digest)
            if entry is not None:
                return Match(
                    _ANSWER[EntryState(entry.state)], entry, entry.key, after, entry.occurrence
                )
            place = _place(scope, branch, after)
            found = [e for e in self._places.get(place, ()) if e.key in self._unread]
            if found:
                if not sure and stable(branch) != branch:
                    self._unsure += 1
                    return Match(Verdict.UNSURE, None, b"", after, 0)
                return self._changed_here(found, scope, branch, kind, name, digest, after)
        return self._new(scope, branch, kind, name, digest, after)

    def note(self, scope: bytes, branch: str, kind: str, name: str, digest: bytes) -> Match:
        """The same for what is known at once and touches nothing (clock, random, an event): it is
        recorded or new, and never says anything about what is recorded beside it."""
        entry = self._recorded_for(scope, branch, kind, name, digest) if self._unread else None
        if entry is None:
            after = self._after.get((scope, branch), b"")
            return self._new(scope, branch, kind, name, digest, after)
        return Match(Verdict.REPLAY, entry, entry.key, entry.after, entry.occurrence)

    def reconsider(self) -> None:
        """An unsure request is about to be asked again."""
        self._unsure -= 1

    def delivered(self, scope: bytes, branch: str, key: bytes) -> None:
        """The agent saw the result of ``key`` in this branch: what it requests next there
        comes after it (K4)."""
        self._after[scope, branch] = key

    def withdrawn(
        self, scope: bytes, branch: str, kind: str, name: str, digest: bytes, occurrence: int
    ) -> None:
        """A request was taken back before it had an outcome; it will be made again."""
        identity = (scope, stable(branch), kind, name, digest)
        self._recorded.get(identity, set()).discard(occurrence)
        self._next[identity] = min(self._next.get(identity, 0), occurrence)

    def again(self, entries: Iterable[Entry], branch: str) -> None:
        """What was requested in ``branch`` and below will be requested once more from its
        beginning, because a framework starts that part of the agent over. ``entries``, the run's
        whole journal by now, answer it like the first time."""
        kept = self._kept(entries)
        elsewhere: set[bytes] = set()
        back: list[Entry] = []
        for entry in kept:  # an effect is requested before what is requested inside it
            mine = under(entry.branch, branch) if not entry.scope else entry.scope not in elsewhere
            if not mine:
                elsewhere.add(entry.key)
            if mine or entry.key in self._unread:
                back.append(entry)
            if mine:
                self._next.pop(_identity(entry), None)
        self._after = {
            (scope, path): key
            for (scope, path), key in self._after.items()
            if (not under(path, branch) if not scope else scope in elsewhere)
        }
        self._read_anew(back)

    def _recorded_for(
        self, scope: bytes, branch: str, kind: str, name: str, digest: bytes
    ) -> Entry | None:
        """Take the entry that was recorded for just this request, in this branch or another."""
        entry = self._earliest(
            self._here.get((scope, stable(branch), kind, name, digest))
        ) or self._earliest(self._anywhere.get((scope, kind, name, digest)))
        if entry is not None:
            self._take(entry)
        return entry

    def _new(
        self, scope: bytes, branch: str, kind: str, name: str, digest: bytes, after: bytes
    ) -> Match:
        place = stable(branch)
        identity = (scope, place, kind, name, digest)
        # The lowest number that is free: an effect that was in flight at a crash gets its own
        # again, whichever of its equals are recorded, and so finds what was done inside it.
        occurrence = self._next.get(identity, 0)
        if recorded := self._recorded.get(identity):
            while occurrence in recorded:
                occurrence += 1
        self._next[identity] = occurrence + 1
        key = effect_key(scope or self._root, place, kind, name, digest, occurrence)
        return Match(Verdict.NEW, None, key, after, occurrence)

    def _changed_here(
        self,
        found: list[Entry],
        scope: bytes,
        branch: str,
        kind: str,
        name: str,
        digest: bytes,
        after: bytes,
    ) -> Match:
        """Something else is recorded where the agent now asks for this: it changed (K7)."""
        first = found[0]
        if kind == Kind.MODEL and all(entry.kind == Kind.MODEL for entry in found):
            if self._changed is Changed.PARK:
                return Match(Verdict.DIVERGED, first, first.key, after, first.occurrence)
            # Where another request is unsure too, either could be the one it belongs to; and what
            # was asked in this run before was not changed, it is asked once more.
            asked_before = (scope, stable(branch), kind, name, digest) in self._recorded
            alone = len(found) == 1 and not self._unsure and not asked_before
            alone = alone and first.state == EntryState.DONE
            if self._changed is Changed.REUSE and alone:
                self._take(first)
                return Match(Verdict.REUSE, first, first.key, after, first.occurrence)
            return self._new(scope, branch, kind, name, digest, after)
        touching = [entry for entry in found if _may_have_touched_the_world(entry)]
        if touching:
            first = touching[0]
            # An operator was asked, and said what this gives.
            alone = len(touching) == 1 and not self._unsure
            if first.answered and alone and kind in _CALLS and first.kind in _CALLS:
                self._take(first)
                return Match(Verdict.REUSE, first, first.key, after, first.occurrence)
            return Match(Verdict.DIVERGED, first, first.key, after, first.occurrence)
        return self._new(scope, branch, kind, name, digest, after)

    def _earliest(self, queue: deque[Entry] | None) -> Entry | None:
        while queue:
            if queue[0].key in self._unread:
                return queue[0]
            queue.popleft()
        return None

    def _take(self, entry: Entry) -> None:
        """Mark as read; an entry that is over takes what was recorded inside it along (K2)."""
        del self._unread[entry.key]
        if entry.state not in (EntryState.INTENT, EntryState.ABANDONED):
            self.given_up(entry)

    def given_up(self, entry: Entry) -> None:
        """Nobody will ask for what was recorded inside this entry."""
        inside = list(self._children.get(entry.key, ()))
        while inside:
            descendant = inside.pop()
            if self._unread.pop(descendant.key, None) is not None:
                inside.extend(self._children.get(descendant.key, ()))


def _identity(entry: Entry) -> _Identity:
    return (entry.scope, stable(entry.branch), entry.kind, entry.name, entry.digest)


def _may_have_touched_the_world(entry: Entry) -> bool:
    if entry.kind in _CALLS:
        return entry.promise != Promise.READS
    return entry.kind == Kind.RUN


def _without_open_failures(entries: list[Entry]) -> list[Entry]:
    """Leave out failures that no later request shows the agent to have gone on after (F1)."""
    ordered = sorted(entries, key=lambda e: e.seq)
    at = {entry.key: i for i, entry in enumerate(ordered)}
    return [
        entry
        for entry in entries
        if entry.state != EntryState.FAILED
        or any(
            later.scope == entry.scope and continues(later.branch, entry.branch)
            for later in ordered[at[entry.key] + 1 :]
        )
    ]
