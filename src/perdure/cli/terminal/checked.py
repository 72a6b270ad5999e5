"""What ``perdure check`` finds, as it goes: how far it is on stderr, what matters on stdout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.status import Status
from rich.text import Text

from perdure.cli.terminal import output

if TYPE_CHECKING:
    from perdure.cli.offline.verdict import Checked

STYLES = {"fits": "green", "changed": "yellow", "diverges": "red", "unclear": "magenta"}
MARKS = {"fits": "✓", "changed": "~", "diverges": "✗", "unclear": "?"}


class Checking:
    """A context while runs are checked. ``quiet``: a program reads the results."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._quiet = quiet
        self._count: Counter[str] = Counter()
        self._status = Status(self._so_far(), console=output.stderr(), spinner="dots")

    def __enter__(self) -> Self:
        if output.stderr().is_terminal:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def tell(self, checked: Checked) -> None:
        """One more. Those that fit are only counted."""
        self._count[checked.verdict.value] += 1
        if output.stderr().is_terminal:
            self._status.update(self._so_far())
        if self._quiet or (checked.verdict == "fits" and not checked.contacts):
            return
        verdict = checked.verdict.value
        style = STYLES[verdict]
        place = f" ({checked.at})" if checked.at else ""
        text = Text(f"{MARKS[verdict]} {verdict:<8} ", style=style).append(checked.run_id)
        text.append(f"  {checked.agent}, {checked.state.value}", style="dim")
        text.append(f"\n    {checked.says}{place}")
        for contact in checked.contacts:
            text.append(f"\n    outside effects: {contact}", style="yellow")
        output.stdout().print(text, soft_wrap=True)

    def summary(self, found: Sequence[Checked], others: Mapping[str, int]) -> None:
        """The last lines."""
        count = Counter(checked.verdict.value for checked in found)
        parts = [f"{count[verdict]} {verdict}" for verdict in STYLES if count[verdict]]
        says = f"{len(found)} unfinished runs: {', '.join(parts)}." if found else "No such runs."
        output.stdout().print(Text(says, style="bold"), soft_wrap=True)
        if others:
            rest = ", ".join(f"{name} ({n})" for name, n in others.items())
            output.note(f"Not checked, since no TARGET holds their agents: {rest}")
        if count["diverges"]:
            run = next(one.run_id for one in found if one.verdict == "diverges")
            output.note(f"Look at one: perdure replay {run} TARGET --pdb")

    def _so_far(self) -> Text:
        done = sum(self._count.values())
        text = Text(f"{done} of {self._total} runs checked")
        if self._count["diverges"]:
            text.append(f", {self._count['diverges']} diverge", style="red")
        return text
