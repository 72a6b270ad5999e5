"""A run's log as what happened when: the stretches of its life, its attempts, and its effects with
every try at them. Pure: a log and the time now go in.

All times are seconds from the moment the run was made. An effect that a crash, a park or the end of
its attempt cut has no row that says so; its try ends with the attempt that made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from perdure.cli.branches import is_beside
from perdure.cli.terminal.states import SILENT
from perdure.cli.waterfall import contacts
from perdure.codec import BLOB, RAW
from perdure.core.record import EntryState, Kind, RecordType
from perdure.core.run import RunState
from perdure.store.costs import Entered
from perdure.store.rows import LogEvent, Run

WAITING = frozenset({Kind.SLEEP, Kind.SIGNAL, Kind.RUN})  # kinds that hold no worker for long
OVER = frozenset({EntryState.DONE, EntryState.FAILED, EntryState.ABANDONED})
CUT = "cut"  # a try that its attempt's end cut
UNDER_WAY = "under way"
LOST, GONE = "lost", "its worker was gone"  # how an attempt ended that nobody ended, and why
_ENDINGS = frozenset(RunState) - {RunState.RUNNING, RunState.BLOCKED}


@dataclass(slots=True)
class Stretch:
    """A part of the run's life. ``what``: queued, running or waiting."""

    what: str
    began: float
    ended: float


@dataclass(slots=True)
class Attempt:
    """From its first row to its last. ``number`` counts failures from 1, ``epoch`` counts claims;
    ``recorded`` is how many effects the journal answered it at most, ``added`` how many it added.
    ``ending``: the state it left the run in, None while it goes on; ``why`` in words."""

    epoch: int
    number: int | None
    worker: str | None
    began: float
    ended: float
    recorded: int
    added: int = 0
    ending: str | None = None
    why: str | None = None


@dataclass(slots=True)
class Try:
    """One time that an effect was performed. ``state``: done, failed, abandoned, cut, under way;
    or ``void`` for an attempt's failure that its end took back so that the next one tries again."""

    epoch: int
    began: float
    ended: float
    state: str


@dataclass(slots=True)
class Effect:
    """One effect. ``state`` is the last that is known of it; ``error`` is what its last failure
    said. ``reused``: its request changed, and the recorded answer was used all the same.
    ``contacts``: its rows of the ledger, the oldest first."""

    key: bytes
    scope: bytes
    branch: str
    kind: str
    name: str
    state: str
    promise: str | None = None
    took_ms: int | None = None
    error: str | None = None
    reused: bool = False
    tries: list[Try] = field(default_factory=list)
    contacts: list[Entered] = field(default_factory=list)

    @property
    def began(self) -> float:
        return self.tries[0].began if self.tries else 0.0

    def to_dict(self, offset: float) -> dict[str, Any]:
        """``offset``: from the run's making to its first start, from where ``started_s`` counts."""
        last = self.tries[-1] if self.tries else None
        return {
            "key": self.key.hex(),
            "scope": self.scope.hex() or None,
            "branch": self.branch,
            "kind": self.kind,
            "name": self.name,
            "state": self.state,
            "promise": self.promise,
            "started_s": None if last is None else round(max(last.began - offset, 0), 3),
            "took_ms": self.took_ms,
            "attempt": None if last is None else last.epoch,
            "reused": self.reused,
            "error": self.error,
            "tries": [
                {
                    "attempt": one.epoch,
                    "state": one.state,
                    "started_s": round(max(one.began - offset, 0), 3),
                    "took_ms": round((one.ended - one.began) * 1000),
                }
                for one in self.tries
            ],
            "contacts": [contacts.view(one) for one in self.contacts],
        }


@dataclass(slots=True)
class Timeline:
    """``length``: to the run's end, or to now. ``signals``: (when, name)."""

    length: float
    stretches: list[Stretch]
    attempts: list[Attempt]
    effects: list[Effect]
    warnings: list[tuple[float, str]]
    signals: list[tuple[float, str]]


def timeline(
    run: Run, log: Sequence[LogEvent], now: datetime, ledger: Sequence[Entered] = ()
) -> Timeline:
    """Read the log, and the run's rows of the ledger. ``now`` is the store's."""
    line = _Reader(run, log, now).read()
    found = contacts.by_effect(ledger)
    for effect in line.effects:
        effect.contacts = found.get(effect.key, [])
    return line


def tree(effects: Iterable[Effect], *, full: bool = False) -> Iterator[tuple[int, str, Effect]]:
    """(depth, branch to be shown, effect): an effect before what happened inside it, in the order
    in which they began; branches of the agent's own concurrency stay together. Unless ``full``,
    clocks, random numbers, and what a framework's adapter tells are left out."""
    inside: dict[bytes, list[Effect]] = {}
    known = [effect for effect in effects if full or not _silent(effect)]
    keys = {effect.key for effect in known}
    for effect in known:
        inside.setdefault(effect.scope if effect.scope in keys else b"", []).append(effect)

    def walk(scope: bytes, depth: int) -> Iterator[tuple[int, str, Effect]]:
        found = inside.get(scope, [])
        for branch, members in _branches(found):
            for effect in members:
                yield depth, branch, effect
                yield from walk(effect.key, depth + 1)

    return walk(b"", 0)


def _silent(effect: Effect) -> bool:
    return effect.kind in SILENT or (effect.kind == Kind.EMIT and is_beside(effect.branch))


def _branches(found: Sequence[Effect]) -> Iterator[tuple[str, list[Effect]]]:
    """Neighbours of one branch together. The root branch is cut where others began meanwhile."""
    groups: dict[tuple[str, int], list[Effect]] = {}
    order: list[tuple[str, int]] = []
    roots = 0
    for effect in found:
        if not effect.branch:
            if order and order[-1][0]:
                roots += 1
            name = ("", roots)
        else:
            name = (effect.branch, roots)
        if name not in groups:
            groups[name] = []
            order.append(name)
        groups[name].append(effect)
    for name in order:
        yield name[0], groups[name]


class _Reader:
    def __init__(self, run: Run, log: Sequence[LogEvent], now: datetime) -> None:
        self._run = run
        self._log = log
        self._zero = run.created_at
        self._end = max(self._at(run.finished_at or now), 0.0)
        self._attempts: dict[int, Attempt] = {}
        self._effects: dict[bytes, Effect] = {}
        self._open: dict[bytes, Try] = {}
        self._done: set[bytes] = set()
        self._awaited: dict[str, float] = {}  # name of a wait -> when the run first parked for it
        self._stretches: list[Stretch] = []
        self._warnings: list[tuple[float, str]] = []
        self._signals: list[tuple[float, str]] = []

    def read(self) -> Timeline:
        started = self._run.started_at
        self._stretch("queued", 0.0)
        if started is not None:
            self._stretch("running", self._at(started))
        for event in self._log:
            at = self._at(event.at)
            if event.type == RecordType.STATUS:
                self._status(event, at)
                continue
            if event.type == RecordType.SIGNAL:
                self._signals.append((at, event.name or ""))
                continue
            self._attempt(event, at)
            if event.type in (RecordType.ENTRY, RecordType.STARTED) and event.key is not None:
                self._effect(event, event.key, at)
            elif event.type == RecordType.WARNING:
                about = _object(event.value)
                self._warnings.append((at, str(about.get("message") or event.name)))
                if event.name == "changed" and event.key in self._effects:
                    self._effects[event.key].reused = True
        self._close_open(self._run.epoch, self._end, live=self._run.state is RunState.RUNNING)
        if self._run.state is RunState.RUNNING and started is not None:
            # An attempt that has written nothing yet began at the earliest when it could.
            self._stretch("running", max(self._at(started), self._stretches[-1].began))
        if self._stretches:
            self._stretches[-1].ended = self._end
        if self._attempts and self._run.state is RunState.RUNNING:
            self._attempts[max(self._attempts)].ended = self._end
        return Timeline(
            self._end,
            [one for one in self._stretches if one.ended > one.began],
            list(self._attempts.values()),
            sorted(self._effects.values(), key=lambda effect: effect.began),
            self._warnings,
            self._signals,
        )

    def _at(self, time: datetime) -> float:
        return (time - self._zero).total_seconds()

    def _stretch(self, what: str, at: float) -> None:
        if self._stretches:
            last = self._stretches[-1]
            if last.what == what:
                return
            last.ended = max(at, last.began)
        self._stretches.append(Stretch(what, at, at))

    def _status(self, event: LogEvent, at: float) -> None:
        state = event.name or ""
        attempt = self._attempts.get(event.epoch)
        if attempt is not None and attempt.ending is None and state in _ENDINGS:
            attempt.ending, attempt.ended = state, at
            about = _object(event.value)
            attempt.why = _why(state, about)
            for wait in about.get("waits") or []:
                self._awaited.setdefault(str(wait.get("name")), at)
            self._close_open(event.epoch, at, live=False)
        if state in (RunState.WAITING, RunState.QUEUED, RunState.BLOCKED):
            self._stretch("waiting" if state == RunState.WAITING else "queued", at)

    def _attempt(self, event: LogEvent, at: float) -> Attempt:
        attempt = self._attempts.get(event.epoch)
        if attempt is None:
            began = at
            if not self._attempts and self._run.started_at is not None:
                began = min(at, self._at(self._run.started_at))
            elif event.type == RecordType.ENTRY:
                began -= (event.took_ms or 0) / 1000
            began = max(began, self._stretches[-1].began if self._stretches else 0.0, 0.0)
            for earlier in self._attempts.values():
                if earlier.ending is None:  # its worker was lost, and nobody wrote so
                    earlier.ending, earlier.why = LOST, GONE
            self._close_open(event.epoch - 1, at, live=False)
            attempt = Attempt(event.epoch, None, None, began, at, len(self._done))
            self._attempts[event.epoch] = attempt
            if event.epoch > 1 or self._run.started_at is None:
                self._stretch("running", began)
        if event.type == RecordType.ATTEMPT:
            about = _object(event.value)
            attempt.number, attempt.worker = about.get("attempt"), about.get("worker")
        if attempt.ending is None:
            attempt.ended = max(attempt.ended, at)
        return attempt

    def _effect(self, event: LogEvent, key: bytes, at: float) -> None:
        effect = self._effects.get(key)
        state = UNDER_WAY if event.type == RecordType.STARTED else event.state or ""
        if effect is None:
            if state == EntryState.VOID:
                return
            effect = Effect(
                key, event.scope or b"", event.branch or "", event.kind or "", event.name or "",
                state, event.promise,
            )  # fmt: skip
            self._effects[key] = effect
        effect.state = state
        effect.promise = event.promise or effect.promise
        attempt = self._attempts[event.epoch]
        if state == EntryState.VOID:
            effect.took_ms = None
            self._done.discard(key)
            self._open.pop(key, None)
            if effect.tries:
                effect.tries[-1].state = "void" if effect.tries[-1].state == "failed" else CUT
            return
        took = (event.took_ms or 0) / 1000
        one = self._open.get(key)
        if state not in OVER:
            if one is None or one.epoch != event.epoch:
                self._begin(effect, event.epoch, at)
            return
        if one is None or one.epoch != event.epoch:
            began = at - took
            if event.kind in WAITING:
                name = effect.name if event.kind == Kind.SIGNAL else f"run:{effect.name}"
                began = min(began, self._awaited.pop(name, began))
            one = self._begin(effect, event.epoch, max(began, 0.0))
        del self._open[key]
        one.ended, one.state = at, state
        if event.kind not in WAITING and took:
            one.began = max(at - took, 0.0)
            self._began_before(attempt, one.began)
        effect.took_ms = event.took_ms
        effect.error = _failure(event.value) if state == EntryState.FAILED else None
        if key not in self._done:
            self._done.add(key)
            attempt.added += 1

    def _began_before(self, attempt: Attempt, at: float) -> None:
        """An attempt's first row is written when its first effect is over."""
        if at >= attempt.began or not self._stretches or self._stretches[-1].what != "running":
            return
        running, before = self._stretches[-1], self._stretches[-2:-1]
        at = max(at, before[0].began if before else 0.0)
        attempt.began = at
        running.began = min(running.began, at)
        if before:
            before[0].ended = running.began

    def _begin(self, effect: Effect, epoch: int, at: float) -> Try:
        if effect.kind in WAITING and effect.tries and effect.tries[-1].state == CUT:
            one = effect.tries[-1]  # a wait is one, however many attempts come and go meanwhile
            one.epoch, one.state = epoch, UNDER_WAY
        else:
            one = Try(epoch, at, at, UNDER_WAY)
            effect.tries.append(one)
        self._open[effect.key] = one
        return one

    def _close_open(self, epoch: int, at: float, *, live: bool) -> None:
        for key, one in list(self._open.items()):
            if one.epoch > epoch:
                continue
            waits = self._effects[key].kind in WAITING and not self._run.state.final
            one.ended = at if not live else self._end
            if not live:
                one.state = CUT
                del self._open[key]
            if waits and at >= self._end:
                one.ended, one.state = self._end, UNDER_WAY


def _why(state: str, about: dict[str, Any]) -> str | None:
    """In words, why an attempt ended with this state."""
    waits = about.get("waits") or []
    if waits:
        return ", ".join(
            " ".join(str(part) for part in (wait.get("reason"), wait.get("name")) if part)
            for wait in waits
        )
    error = about.get("error")
    if isinstance(error, dict):
        kind = str(error.get("type", "")).rpartition(":")[2].rpartition(".")[2]
        return f"{kind}: {error.get('message', '')}".partition("\n")[0]
    reason = about.get("reason")
    words = {"orphaned": GONE, "hop": "between two effects", "poison": "poison"}
    return words.get(str(reason), str(reason)) if reason else None


def _failure(value: bytes | None) -> str | None:
    about = _object(value)
    if "status" in about:
        text = f"{about['status']} {about.get('body', '')}"
    else:
        kind = str(about.get("type", "")).rpartition(":")[2].rpartition(".")[2]
        text = f"{kind}: {about.get('message', '')}" if about else ""
    return " ".join(text.split()) or None


def _object(value: bytes | None) -> dict[str, Any]:
    if not value or value[:1] in (RAW, BLOB):
        return {}
    found = orjson.loads(value)
    return found if isinstance(found, dict) else {}
