"""What a rehearsal on other code says about a run that is not over."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from perdure.cli.offline.blockade import Contact
from perdure.cli.offline.rehearsal import Stop
from perdure.core.record import Entry, EntryState, Kind
from perdure.core.run import RunState
from perdure.core.words import counted
from perdure.errors import Diverged, InvalidInput
from perdure.store.rows import Run

_WORK = frozenset({Kind.MODEL, Kind.TOOL, Kind.STEP, Kind.RUN})


class Verdict(StrEnum):
    FITS = "fits"  # it goes on where it is
    CHANGED = "changed"  # it goes on, but otherwise than it was recorded: see what it says
    DIVERGES = "diverges"  # the code does not fit what is recorded: it would park, or be refused
    RAISES = "raises"  # the code fits and raises an error of its own
    UNCLEAR = "unclear"  # it could not be found out


@dataclass(slots=True)
class Checked:
    """One run. ``says`` gives the reason in one line; ``at`` is the line of code it is about;
    ``answered`` of ``recorded`` effects were answered by the journal; ``reused`` are model calls
    whose request changed; ``contacts``: what touched the outside beside effects."""

    run_id: str
    agent: str
    state: RunState
    verdict: Verdict
    says: str
    at: str | None = None
    answered: int = 0
    recorded: int = 0
    reused: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": self.run_id,
            "agent": self.agent,
            "state": self.state.value,
            "verdict": self.verdict.value,
            "says": self.says,
            "at": self.at,
            "answered": self.answered,
            "recorded": self.recorded,
            "reused": self.reused,
            "contacts": self.contacts,
        }


@dataclass(slots=True)
class Rehearsed:
    """How a rehearsal ended. ``resumed``: it began at a checkpoint, so that what was recorded
    before is rightly left unread. ``fate``: what would become of a run that raised;
    ``blocked``: something that it reached for was kept from it."""

    outcome: str  # returned, raised, stopped
    error: BaseException | None = None
    error_at: str | None = None
    fate: str = ""
    blocked: bool = False
    stops: list[Stop] = field(default_factory=list)
    unread: list[Entry] = field(default_factory=list)
    answered: int = 0
    reused: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)
    resumed: bool = False


def judge(run: Run, recorded: int, found: Rehearsed) -> Checked:
    """The verdict. Pure."""
    checked = Checked(
        run.id, run.agent, run.state, Verdict.FITS, "", None, found.answered, recorded,
        found.reused, found.contacts,
    )  # fmt: skip
    against = next((stop for stop in found.stops if stop.conflict is not None), None)
    left = [] if found.resumed else [entry for entry in found.unread if _counts(entry)]
    if against is not None:
        checked.verdict, checked.at = Verdict.DIVERGES, against.at
        checked.says = against.conflict or ""
    elif found.outcome == "raised":
        _raised(run, found, checked)
    elif found.outcome == "stopped":
        stop = found.stops[0]
        checked.at = stop.at
        if left:
            checked.verdict = Verdict.CHANGED
            checked.says = (
                f"asks for {stop.kind} {stop.name!r} anew, while "
                f"{counted(len(left), 'effect recorded is', 'effects recorded are')} left "
                f"unasked for ({left[0].kind} {left[0].name!r})"
            )
        else:
            how = "is where it was" if stop.under_way else "comes next"
            checked.says = f"{stop.kind} {stop.name!r} {how}"
    elif left:
        checked.verdict = Verdict.CHANGED
        checked.says = (
            f"returns without asking for {counted(len(left), 'effect')} recorded "
            f"({left[0].kind} {left[0].name!r})"
        )
    else:
        checked.says = "comes to its end"
    if checked.verdict is Verdict.FITS and found.reused:
        checked.verdict = Verdict.CHANGED
        names = ", ".join(dict.fromkeys(found.reused))
        checked.says = (
            f"{counted(len(found.reused), 'changed request gets', 'changed requests get')} "
            f"the recorded {'answer' if len(found.reused) == 1 else 'answers'} ({names})"
        )
    return checked


def _raised(run: Run, found: Rehearsed, checked: Checked) -> None:
    name = type(found.error).__qualname__
    told = " ".join(f"{name}: {found.error}".split()).removesuffix(":")
    checked.at = found.error_at
    before = {str((run.error or {}).get("type", "")).rpartition(":")[2]}
    before |= {str(wait.get("detail", "")).partition(":")[0] for wait in run.waits}
    if found.blocked:
        checked.verdict = Verdict.UNCLEAR
        checked.says = "reaches for the outside beside effects, which a rehearsal blocks (--online)"
        if not isinstance(found.error, Contact):
            checked.says += f", and raises {told}"
    elif name in before:
        checked.says = f"raises {told}, as its last attempt did"
    elif isinstance(found.error, (InvalidInput, Diverged)):
        checked.verdict = Verdict.DIVERGES
        checked.says = f"raises {told}"
    else:
        checked.verdict = Verdict.RAISES
        checked.says = f"raises {told.removesuffix('.')}; {found.fate}"


def _counts(entry: Entry) -> bool:
    """Whether it tells of a change that nobody asks for it: something that was done or paid."""
    return entry.kind in _WORK and entry.state in (EntryState.DONE, EntryState.FAILED)
