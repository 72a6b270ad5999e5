"""A failover drill for people: how far it is, and both sides in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perdure.cli.drill.evaluation import Evaluation
from perdure.cli.drill.sides import Bars, Check, Side
from perdure.cli.drill.traffic import Traffic, moment
from perdure.cli.terminal.amounts import dollars
from perdure.cli.terminal.output import moving, note, stderr, stdout, table
from perdure.cli.terminal.times import short, short_seconds
from perdure.core.charge import NANO
from perdure.core.drill import Drill
from perdure.core.words import counted

if TYPE_CHECKING:
    from rich.status import Status

WRONG = 3  # answers that were not as expected, of each target, that are shown
WORDS = 100  # characters of them


class Telling:
    """One line on stderr that says how far it is: it moves where someone looks, and is there at the
    beginning anywhere else."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._made: Evaluation | None = None

    @contextmanager
    def evaluation(self, made: Evaluation) -> Iterator[None]:
        """Within it, ``told`` after each answer."""
        self._made = made
        names = ", ".join(side.target for side in made.sides)
        with self._line(f"Asking {names}: {counted(made.questions, 'question')}"):
            yield

    def told(self) -> None:
        """One more answer is there."""
        if self._status is not None and self._made is not None:
            done = ", ".join(f"{side.target} {len(side.scores)}" for side in self._made.sides)
            self._status.update(f"{done} of {counted(self._made.questions, 'question')} …")

    @contextmanager
    def traffic(self, drill: Drill) -> Iterator[None]:
        """Within it, ``seen`` now and then."""
        length = short(timedelta(seconds=drill.until - drill.since))
        with self._line(
            f"{drill.percent:g} % of {drill.route}'s runs go to {drill.target} first, for {length}."
            " Ctrl-C ends it"
        ):
            yield

    def seen(self, traffic: Traffic) -> None:
        """What came of it so far."""
        if self._status is not None:
            drill, (primary, drilled) = traffic.drill, traffic.sides
            left = max(moment(drill.until) - datetime.now(UTC), timedelta(0))
            self._status.update(
                f"{drilled.target}: {drilled.answered} of {counted(drilled.calls, 'call')};"
                f" {primary.target or 'primary'}: {primary.answered} of {primary.calls};"
                f" {short(left)} left. Ctrl-C ends it"
            )

    @contextmanager
    def _line(self, text: str) -> Iterator[None]:
        if not moving(stderr()):
            note(f"{text} …")
            yield
            return
        with stderr().status(f"{text} …") as self._status:
            yield
        self._status = None


def print_evaluation(made: Evaluation, bars: Bars) -> None:
    """The sides, the bars, and some of what was not as expected."""
    print(f"{counted(made.questions, 'question')}:")
    print_sides(made.sides)
    for name, checks in made.checks(bars).items():
        _print_checks(name, checks)
    for side in made.sides[1:]:
        wrong = [one for one in made.answers if one.target == side.target and one.score < 1]
        for one in wrong[:WRONG]:
            words = " ".join((one.problem or one.answer).split())[:WORDS]
            note(f"  {side.target}, {one.id}: {one.score:g}  {words}")
        if len(wrong) > WRONG:
            note(f"  {side.target}: {len(wrong) - WRONG} more (--json has them all).")


def print_traffic(seen: Traffic | None, bars: Bars) -> None:
    """The sides and the bars."""
    if seen is None:
        return
    drill = seen.drill
    print(f"Real traffic, {drill.percent:g} % to {drill.target} first:")
    print_sides(seen.sides)
    _print_checks(drill.target, seen.checks(bars))


def print_sides(sides: Sequence[Side]) -> None:
    """A line for each target, the primary's first."""
    rows = [
        (
            side.target or "(primary)",
            str(side.calls),
            "" if side.success is None else f"{side.success:.1%}",
            _ms(side.percentile(0.5)),
            _ms(side.percentile(0.95)),
            _cost(side),
            "" if side.quality is None else f"{side.quality:.2f}",
        )
        for side in sides
    ]
    scored = any(side.quality is not None for side in sides)
    columns = ("TARGET", "CALLS", "ANSWERED", "P50", "P95", "COST/CALL", "QUALITY")
    width = len(columns) - (not scored)
    table(columns[:width], [row[:width] for row in rows], shrink=0)


def _print_checks(name: str, checks: Sequence[Check]) -> None:
    words = {"success": "at least", "quality": "at least"}
    for check in checks:
        bar = f"{words.get(check.name, 'at most')} {check.bar:g}"
        mark, style = ("✓", "green") if check.passed else ("✗", "red")
        if check.value is None:
            mark, style = "·", "dim"
        stdout().print(f"[{style}]{mark}[/] {name} {check.name}: {check.says} ({bar})")


def print_verdict(verdict: str) -> None:
    """PASS, FAIL or STOPPED."""
    style = {"pass": "bold green", "fail": "bold red"}.get(verdict, "bold yellow")
    stdout().print(verdict.upper(), style=style)


def _ms(value: int | None) -> str:
    return "" if value is None else short_seconds(value / 1000)


def _cost(side: Side) -> str:
    cost = side.cost_per_answer
    return "?" if cost is None else dollars(Decimal(cost) / NANO)
