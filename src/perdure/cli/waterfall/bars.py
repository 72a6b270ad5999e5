"""The waterfall: a line for each effect, its tries as bars over one time axis."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from rich.text import Text

from perdure.cli.branches import MARK, short
from perdure.cli.terminal.states import MARKS
from perdure.cli.terminal.times import short_seconds
from perdure.cli.waterfall import contacts
from perdure.cli.waterfall.axis import Axis
from perdure.cli.waterfall.timeline import CUT, UNDER_WAY, WAITING, Effect, Timeline, tree

EFFECT, BRANCH = "EFFECT", "BRANCH"
PIPED = 40  # columns of bars where no terminal says how many there are
LEAST = 12  # columns of bars, however narrow it is
NAMES = 44  # columns of names, where there are many columns
# state of a try -> (glyph, style)
GLYPHS = {
    "done": ("█", "green"),
    "failed": ("▓", "red"),
    "void": ("▓", "red"),
    "abandoned": ("▒", "dim"),
    CUT: ("▒", "yellow"),
    UNDER_WAY: ("█", "yellow"),
    "wait": ("░", "cyan"),
}
LIFE = {"running": ("━", "blue"), "waiting": ("░", "cyan"), "queued": ("·", "dim")}
WORDS = {
    "█": "performed", "▓": "failed", "▒": "cut or given up", "░": "waiting", "·": "queued",
    "━": "running", "⋯": "a long wait, folded",
}  # fmt: skip


class Bars:
    """``width`` of the terminal; None where there is none: then nothing is cut. ``full``: branches
    by their whole names, and what is left out otherwise."""

    def __init__(self, line: Timeline, width: int | None, *, full: bool = False) -> None:
        self._line = line
        self._limit = width
        self._full = full
        rows = list(tree(line.effects, full=full))
        told = {} if full else short(branch for _, branch, _ in rows)
        self._rows = [
            (_label(depth, effect), _place_name(told.get(branch, branch)), effect)
            for depth, branch, effect in rows
        ]
        longest = max([len(label) for label, _, _ in self._rows] + [len(EFFECT)])
        places = max([len(place) for _, place, _ in self._rows], default=0)
        self._places = max(places, len(BRANCH)) if places else 0
        if width is None:
            self._names, bars = longest, PIPED
        else:
            room = width - 4 - 2 - 10  # the mark, the gap, and what it took
            if self._places and not full:
                self._places = min(self._places, max(room // 4, len(BRANCH)))
            if room - self._places < 8 + LEAST + 2:
                self._places = 0
            room -= self._places + 2 if self._places else 0
            self._names = min(longest, max(room - LEAST, 8), max(NAMES, room // 3))
            bars = max(room - self._names, LEAST)
        self._axis = Axis(line.length, line.stretches, bars)
        self._used: set[str] = set()

    def rows(self) -> Iterator[Text]:
        """The axis, the run's own life, an effect a line, and what the glyphs mean."""
        yield self._head()
        yield self._life()
        for label, place, effect in self._rows:
            yield self._effect(label, place, effect)
            if notes := _notes(effect):
                yield self._note(label, notes, "red" if effect.error else "yellow")
            if self._full or contacts.told(effect.contacts):
                words = contacts.said(effect.contacts, effect.name.partition("/")[2])
                if words:
                    yield self._note(label, words, "dim")
        yield self._legend()

    def _head(self) -> Text:
        cells = [" "] * self._axis.width
        _place(cells, 0, "0")
        end = f"+{short_seconds(self._line.length)}"
        _place(cells, self._axis.width - len(end), end)
        for fold in self._axis.folds:
            text = short_seconds(fold.ended - fold.began)
            _place(cells, round((fold.left + fold.right - len(text)) / 2), text)
        for share in (0.5, 0.25, 0.75):
            column = round(self._axis.width * share)
            _place(cells, column, f"+{short_seconds(self._axis.second(column))}", apart=3)
        return Text(f"    {self._cells(EFFECT, BRANCH)}  {''.join(cells)}  TOOK", style="dim")

    def _cells(self, label: str, place: str) -> str:
        """The columns before the bars. Of a long branch its end says the most."""
        if len(label) > self._names:
            label = label[: self._names - 1] + "…"
        if not self._places:
            return label.ljust(self._names)
        if len(place) > self._places:
            place = f"{MARK}…{place[2 - self._places :]}"
        return f"{label.ljust(self._names)}  {place.ljust(self._places)}"

    def _life(self) -> Text:
        bar = self._blank()
        for one in self._line.stretches:
            self._fill(bar, one.began, one.ended, *LIFE[one.what])
        for fold in self._axis.folds:
            middle = int((fold.left + fold.right) / 2)
            bar[middle] = ("⋯", "dim")
            self._used.add("⋯")
        text = Text(f"    {self._cells('run', '')}  ", style="dim")
        return text.append_text(_joined(bar)).append(f"  {short_seconds(self._line.length)}", "dim")

    def _effect(self, label: str, place: str, effect: Effect) -> Text:
        state = "failed" if _failed(effect) else effect.state
        mark, style = MARKS.get(state, ("…", "yellow"))
        bar = self._blank()
        for one in effect.tries:
            state = one.state
            if effect.kind in WAITING and state in ("done", CUT, UNDER_WAY):
                state = "wait"
            self._fill(bar, one.began, one.ended, *GLYPHS.get(state, ("█", "")))
        cells = self._cells(label, place)
        text = Text("  ").append(mark, style=style).append(f" {cells[: self._names]}")
        text.append(f"{cells[self._names :]}  ", style="dim")
        text.append_text(_joined(bar))
        text.append("  " + self._took(effect), style="dim")
        return text

    def _note(self, label: str, notes: str, style: str) -> Text:
        indent = " " * (6 + len(label) - len(label.lstrip()))
        text = Text(indent + notes, style=style)
        if self._limit is not None:
            text.truncate(self._limit, overflow="ellipsis")
        return text

    def _took(self, effect: Effect) -> str:
        if not effect.tries:
            return ""
        last = effect.tries[-1]
        if effect.kind in WAITING or effect.took_ms is None:
            return short_seconds(last.ended - last.began)
        return short_seconds(effect.took_ms / 1000)

    def _legend(self) -> Text:
        told = [f"{glyph} {words}" for glyph, words in WORDS.items() if glyph in self._used]
        text = Text("    " + "   ".join(told), style="dim")
        if self._limit is not None:
            text.truncate(self._limit, overflow="ellipsis")
        return text

    def _blank(self) -> list[tuple[str, str]]:
        return [(" ", "")] * self._axis.width

    def _fill(
        self, bar: list[tuple[str, str]], began: float, ended: float, glyph: str, style: str
    ) -> None:
        """At least a column, so that nothing is invisible."""
        left = min(int(self._axis.column(began)), self._axis.width - 1)
        right = max(round(self._axis.column(ended)), left + 1)
        for i in range(left, min(right, self._axis.width)):
            bar[i] = (glyph, style)
        self._used.add(glyph)


def _label(depth: int, effect: Effect) -> str:
    tries = f" ×{len(effect.tries)}" if len(effect.tries) > 1 else ""
    return f"{'  ' * depth}{effect.kind} {effect.name}{tries}"


def _place_name(branch: str) -> str:
    """Where it is one of several that ran beside each other."""
    return f"{MARK}{branch.removeprefix('/')}" if branch else ""


_STATES = {
    "intent": "begun, its end is not recorded",
    "abandoned": "given up by the agent",
    "tried again": "the next attempt tries it again",
    "void": "begun anew by the next attempt",
}


def _failed(effect: Effect) -> bool:
    """Also one whose failure was taken back when it ended its attempt (F1)."""
    return bool(effect.tries) and effect.tries[-1].state in ("failed", "void")


def _notes(effect: Effect) -> str:
    notes = []
    state = "tried again" if _failed(effect) and effect.state == "void" else effect.state
    # A wait that is not over is drawn as one, and so is work: nothing about it is missing.
    going_on = effect.kind in WAITING or (effect.tries and effect.tries[-1].state == UNDER_WAY)
    if state not in ("done", "failed") and not (state == "intent" and going_on):
        notes.append(_STATES.get(state, state))
    if effect.reused:
        notes.append("its request changed; the recorded answer was used")
    if effect.error:
        notes.insert(0, effect.error)
    return ", ".join(notes)


def _joined(bar: list[tuple[str, str]]) -> Text:
    text = Text()
    for style, cells in groupby(bar, key=itemgetter(1)):
        text.append("".join(glyph for glyph, _ in cells), style=style)
    return text


def _place(cells: list[str], at: int, text: str, *, apart: int = 1) -> None:
    """Write a label where nothing else stands."""
    around = cells[max(at - apart, 0) : at + len(text) + apart]
    if at < 0 or at + len(text) > len(cells) or any(cell != " " for cell in around):
        return
    cells[at : at + len(text)] = text
