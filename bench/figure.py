"""What a benchmark tells: figures, each with its target and what it was measured beside."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``least``: the target is the least that is good, not the most."""

    subject: str
    what: str
    value: float
    unit: str
    target: float | None = None
    least: bool = False
    beside: str = ""  # the absolute numbers it was made of

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.least else self.value <= self.target

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. ``quick`` sizes only show that everything runs."""

    repeat: int = 5
    quick: bool = False

    def of(self, full: int, quick: int) -> int:
        """The full size, or the quick one."""
        return quick if self.quick else full


def median(values: Iterable[float]) -> float:
    """The middle of the rounds."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def show(figures: Sequence[Figure]) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("subject", "figure", "measured", "target", "", "beside"):
        numbers = name in ("measured", "target")
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for figure in figures:
        sign = ">=" if figure.least else "<="
        target = "" if figure.target is None else f"{sign} {amount(figure.target, figure.unit)}"
        verdict = {None: "", True: "[green]met[/]", False: "[red]not met[/]"}[figure.met]
        table.add_row(
            figure.subject, figure.what, amount(figure.value, figure.unit), target, verdict,
            figure.beside,
        )  # fmt: skip
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def amount(value: float, unit: str) -> str:
    """A number with its unit, in three digits or so."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()
