"""What ``perdure check`` finds, as it goes: how far it is on stderr, what matters on stdout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from rich.status import Status
from rich.text import Text

from perdure.cli.terminal import output
from perdure.core.words import counted

if TYPE_CHECKING:
    from perdure.cli.offline.verdict import Checked

STYLES = {
    "fits": "green", "changed": "yellow", "unclear": "magenta", "raises": "red", "diverges": "red",
}  # fmt: skip
# of one run, of several
WORDS = {
    "fits": ("fits", "fit"),
    "changed": ("changed", "changed"),
    "diverges": ("diverges", "diverge"),
    "raises": ("raises", "raise"),
    "unclear": ("unclear", "unclear"),
}
NAMED = 3  # runs that are named of those with one reason
MARKS = {"fits": "✓", "changed": "~", "diverges": "✗", "raises": "!", "unclear": "?"}


class Checking:
    """A context while runs are checked."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count: Counter[str] = Counter()
        self._status = Status(self._so_far(), console=output.stderr(), spinner="dots")

    def __enter__(self) -> Self:
        if output.stderr().is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def tell(self, checked: Checked) -> None:
        """One more."""
        self._count[checked.verdict.value] += 1
        if output.stderr().is_terminal:
            self._status.update(self._so_far())

    def _so_far(self) -> Text:
        done = sum(self._count.values())
        text = Text(f"{done} of {counted(self._total, 'run')} checked")
        for verdict in ("diverges", "raises"):
            if n := self._count[verdict]:
                text.append(f", {n} {WORDS[verdict][n != 1]}", style="red")
        return text


def print_checked(found: Sequence[Checked], others: Mapping[str, int]) -> None:
    """What is worth a line, runs with one reason together; those that fit are counted."""
    count = Counter(one.verdict.value for one in found)
    groups: dict[tuple[str, ...], list[Checked]] = {}
    for one in found:
        if one.verdict != "fits" or one.contacts:
            reason = (one.verdict.value, one.agent, one.says, one.at or "")
            groups.setdefault(reason, []).append(one)
    order = list(STYLES)
    for said in sorted(groups, key=lambda said: order.index(said[0]), reverse=True):
        _group(groups[said])
    parts = [f"{count[verdict]} {WORDS[verdict][count[verdict] != 1]}" for verdict in STYLES]
    kept = [part for part in parts if not part.startswith("0 ")]
    total = counted(len(found), "unfinished run")
    says = f"{total}: {', '.join(kept)}." if found else "No unfinished runs."
    output.stdout().print(Text(says, style="bold"), soft_wrap=True)
    if others:
        rest = ", ".join(f"{name} ({n})" for name, n in others.items())
        output.note(f"Not checked, since no TARGET holds their agents: {rest}")
    if broken := [one for one in found if one.verdict in ("diverges", "raises")]:
        run = min(broken, key=lambda one: one.verdict).run_id
        output.note(f"Look at one: perdure replay {run} TARGET --pdb")


def _group(group: Sequence[Checked]) -> None:
    one = group[0]
    verdict = one.verdict.value
    count = f"{len(group)} runs of " if len(group) > 1 else ""
    place = f" ({one.at})" if one.at else ""
    text = Text(f"{MARKS[verdict]} {verdict}  ", style=STYLES[verdict])
    text.append(f"{count}{one.agent}: {one.says}{place}")
    for contact in dict.fromkeys(c for other in group for c in other.contacts):
        text.append(f"\n    outside effects: {contact}", style="yellow")
    names = ", ".join(f"{other.run_id} ({other.state})" for other in group[:NAMED])
    more = f" and {len(group) - NAMED} more" if len(group) > NAMED else ""
    text.append(f"\n    {names}{more}", style="dim")
    output.stdout().print(text, soft_wrap=True)
