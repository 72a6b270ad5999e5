"""A replay as it goes, and what it came to; on stderr, beside the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from perdure.cli.terminal.output import stderr
from perdure.cli.terminal.states import MARKS, SILENT
from perdure.cli.terminal.times import short_seconds
from perdure.core.record import Entry, Kind
from perdure.core.words import counted

if TYPE_CHECKING:
    from perdure.cli.offline.document import Export
    from perdure.cli.offline.replay import Report


def answered(entry: Entry, reused: bool) -> None:
    """A line for an effect that the journal answered."""
    if entry.kind in SILENT or entry.kind == Kind.EMIT:
        return
    mark, style = MARKS.get(entry.state, ("·", "dim"))
    text = Text("  ").append(mark, style=style).append(f" {entry.kind:<6} ", style="dim")
    text.append(entry.name)
    text.append(f"  took {short_seconds(entry.took_ms / 1000)}", style="dim")
    if reused:
        text.append("  the request changed; the recorded answer was used", style="yellow")
    stderr().print(text, soft_wrap=True)


def conclusion(report: Report, export: Export, *, online: bool) -> None:
    """What it came to."""
    console = stderr()
    for contact in report.contacts:
        told = "outside effects" if online else "blocked"
        console.print(Text(f"  ! {told}: {contact}", style="yellow"), soft_wrap=True)
    if report.outcome == "stopped" and report.stop is not None and report.differs is None:
        how = "was under way when the journal ends" if report.stop.under_way else "comes next"
        text = f"The journal ends here: {report.stop} {how}. The run {export.run.state.says}."
        console.print(Text(text), soft_wrap=True)
    elif report.outcome == "raised" and report.differs is None:
        text = f"It raises as recorded: {type(report.error).__qualname__}: {report.error}"
        console.print(Text(text, style="red"), soft_wrap=True)
    elif report.outcome == "returned" and report.differs is None:
        answered = counted(report.answered, "effect")
        text = f"It returns as recorded ({answered} answered, none performed)."
        console.print(Text(text, style="green"), soft_wrap=True)
