"""Seconds to columns. A run that slept for three days did its work in two minutes: where it only
waited, the axis is folded, so that what happened keeps its room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.cli.waterfall.timeline import Stretch

FOLD = 3  # columns of a folded wait
LONG = 0.25  # a wait is folded that is longer than this part of all the rest


class Part(NamedTuple):
    """Seconds ``began`` to ``ended`` are columns ``left`` to ``right``."""

    began: float
    ended: float
    left: float
    right: float
    folded: bool


class Axis:
    """``width`` columns for ``length`` seconds."""

    def __init__(self, length: float, stretches: Sequence[Stretch], width: int) -> None:
        self.width = width
        waits = [one for one in stretches if one.what != "running" and one.ended > one.began]
        busy = max(length - sum(one.ended - one.began for one in waits), length / 1000)
        folded = [one for one in waits if one.ended - one.began > busy * LONG]
        while folded and len(folded) * FOLD > width // 2:
            folded.remove(min(folded, key=lambda one: one.ended - one.began))
        free = max(length - sum(one.ended - one.began for one in folded), 1e-9)
        scale = (width - FOLD * len(folded)) / free
        self.parts: list[Part] = []
        at, column = 0.0, 0.0
        for one in folded:
            right = column + max(one.began - at, 0.0) * scale
            self.parts.append(Part(at, one.began, column, right, False))
            self.parts.append(Part(one.began, one.ended, right, right + FOLD, True))
            at, column = one.ended, right + FOLD
        self.parts.append(Part(at, max(length, at), column, float(width), False))

    def column(self, second: float) -> float:
        """Where this second is, in columns."""
        for part in self.parts:
            if second <= part.ended:
                if part.ended <= part.began:
                    return part.left
                share = (max(second, part.began) - part.began) / (part.ended - part.began)
                return part.left + share * (part.right - part.left)
        return float(self.width)

    def second(self, column: float) -> float:
        """The time at this column."""
        for part in self.parts:
            if column <= part.right:
                if part.right <= part.left:
                    return part.began
                share = (max(column, part.left) - part.left) / (part.right - part.left)
                return part.began + share * (part.ended - part.began)
        return self.parts[-1].ended

    @property
    def folds(self) -> list[Part]:
        return [part for part in self.parts if part.folded]
