"""How full the limits are, as a picture that moves or a table that does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perdure.cli.terminal.amounts import count
from perdure.cli.terminal.output import stdout, table
from perdure.cli.terminal.times import short_seconds
from perdure.gateway.standing import MeterStanding, PoolStanding, Standing

FRAMES = 4  # pictures a second
BAR = 12  # characters
COLUMNS = ("POOL", "LIMIT", "USED", "OF", "FULL", "BELIEVED", "WAITING", "IN FLIGHT", "NEXT")
RIGHT = frozenset({2, 3, 5, 6, 7})
_NAMES = {60.0: "minute", 3600.0: "hour", 86_400.0: "day"}
_FULL = 0.95  # from this share on a limit is what holds calls back


def nothing(declared: int) -> str:
    """In words, when there is no document."""
    if declared:
        return "No call has asked for room in a limit yet."
    return "No [[limits]] are declared in perdure.toml: calls are not held back."


def shown(where: str) -> str:
    """An address without its password."""
    scheme, mark, rest = where.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else where


def rows(found: Standing) -> list[tuple[tuple[str, ...], float]]:
    """The cells of each line, and how full it is (0 to 1). A pool's own are in its first."""
    lines: list[tuple[tuple[str, ...], float]] = []
    for pool in found.pools:
        name = _name(pool)
        if pool.problem is not None:
            lines.append(((name, pool.problem, "", "", "", "", "", "", ""), 0.0))
            continue
        own = (str(pool.waiting), str(pool.in_flight))
        for i, meter in enumerate(pool.meters):
            first = i == 0
            full = meter.used / meter.amount if meter.amount else 0.0
            lines.append(
                (
                    (
                        name if first else "",
                        _limit(meter),
                        count(meter.used),
                        count(meter.amount) if meter.amount is not None else "not declared",
                        _bar(full) if meter.amount else "",
                        f"{meter.believed:.0%}",
                        *(own if first else ("", "")),
                        _next(pool, meter, found.now),
                    ),
                    full,
                )
            )
        if not pool.meters:
            lines.append(((name, "(no longer declared)", "", "", "", "", *own, ""), 0.0))
    return lines


def _name(pool: PoolStanding) -> str:
    named = pool.named
    whose = "" if named.credential == "*" else f" [{named.credential}]"
    return f"{named.provider}/{named.name}{' (pool)' if named.shared else ''}{whose}"


def _limit(meter: MeterStanding) -> str:
    if not meter.per:
        return "at a time"
    return f"{meter.what}/{_NAMES.get(meter.per, f'{meter.per:g} s')}"


def _bar(full: float) -> str:
    filled = min(BAR, round(full * BAR))
    return "█" * filled + "░" * (BAR - filled)


def _next(pool: PoolStanding, meter: MeterStanding, now: float) -> str:
    """A pool that is held back as a whole says so in every line."""
    if meter.amount is None:
        return ""
    if meter.next_at is None:
        return "when one ends"
    at = max(meter.next_at, pool.held_until or 0.0)
    return "now" if at - now < 0.05 else f"in {short_seconds(at - now)}"


def _style(full: float) -> str:
    return "red" if full >= _FULL else "yellow" if full >= 0.75 else "green"


def show(found: Standing) -> None:
    """Print them once."""
    lines = rows(found)
    styles = {(i, 4): _style(full) for i, (_, full) in enumerate(lines)}
    table(COLUMNS, [cells for cells, _ in lines], cell_styles=styles, shrink=0, optional=(4, 5))


class Gauges:
    """Use it as a context; ``show`` them as they are now. ``where``: who keeps them."""

    def __init__(self, where: str, declared: int) -> None:
        self._where = where
        self._declared = declared
        self._found = Standing(0.0, ())
        self._away = False
        self._console = stdout()
        self._live = Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=FRAMES,
            screen=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, found: Standing, *, away: bool) -> None:
        """From now on show these. ``away``: whoever keeps them does not answer."""
        self._found, self._away = found, away

    def _picture(self) -> Group:
        return picture(self._found, self._where, self._declared, self._away, self._console.height)


def picture(found: Standing, where: str, declared: int, away: bool, height: int) -> Group:
    """The whole screen; as many lines as fit, the fullest pools first where not all do."""
    waiting = sum(pool.waiting for pool in found.pools)
    flying = sum(pool.in_flight for pool in found.pools)
    head = Text(" Limits", "bold")
    head.append(f"  {flying} in flight", "green" if flying else "dim")
    head.append(f"  {waiting} waiting", "yellow" if waiting else "dim")
    head.append(f"   {where}", "dim")
    foot = Text(" Ctrl-C: leave; nothing is changed by looking.", "dim")
    if away:
        foot = Text(" Who keeps the limits does not answer; trying again.", "yellow")
    if not found.pools:
        return Group(head, Text(), Text(f"  {nothing(declared)}", "dim"), Text(), foot)
    room = max(height - 5, 1)
    pools: Sequence[PoolStanding] = found.pools
    if sum(max(1, len(pool.meters)) for pool in pools) > room:
        pools = sorted(pools, key=_fullest, reverse=True)
    lines = rows(Standing(found.now, tuple(pools)))
    made = Table(box=None, pad_edge=True, header_style="dim", expand=True)
    for i, column in enumerate(COLUMNS):
        made.add_column(
            column, no_wrap=True, overflow="ellipsis", ratio=1 if i == 0 else None,
            justify="right" if i in RIGHT else "left",
        )  # fmt: skip
    for cells, full in lines[:room]:
        made.add_row(*(Text(cell, _cell(i, cell, full)) for i, cell in enumerate(cells)))
    hidden = [Text(f"  … and {len(lines) - room} more", "dim")] if len(lines) > room else []
    return Group(head, Text(), made, *hidden, foot)


def _fullest(pool: PoolStanding) -> tuple[int, float]:
    full = [meter.used / meter.amount for meter in pool.meters if meter.amount]
    return pool.waiting, max(full, default=0.0)


def _cell(i: int, cell: str, full: float) -> str:
    if i == 4:
        return _style(full)
    if i == 5:
        return "dim" if cell == "100%" else "yellow"
    if i == 6:
        return "yellow" if cell not in ("", "0") else "dim"
    if i == 8:
        return "" if cell == "now" else "yellow"
    return "dim" if i in (3, 7) else ""
