"""The demo's last page: the figures as a table, and what to try next."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from perdure.demo.figures import Column, Figures
from perdure.demo.side import PROMISED_S


def page(figures: Figures, money: str, kept: Path | None = None) -> RenderableType:
    """Table, verdict, remarks, what to do next."""
    table = Table(title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.title = (
        f"{figures.calls_needed} model calls over {figures.documents} documents, "
        f"kill -9 in call {figures.kill_at}"
    )
    table.add_column("", no_wrap=False)
    table.add_column("python agent.py", justify="right", no_wrap=True)
    table.add_column("Perdure", justify="right", no_wrap=True, style="bold green")
    for name, left, right in rows(figures):
        table.add_row(name, left, right)
    return Group(Text(), table, Text(), *_remarks(figures, money), Text(), *_next(figures, kept))


def rows(figures: Figures) -> list[tuple[str, str, str]]:
    """(figure, without Perdure, with it), as text."""
    a, b = figures.plain, figures.perdure
    return [
        ("model calls finished", str(a.calls_finished), str(b.calls_finished)),
        (
            "sent again because in flight (at most 1)",
            str(a.resent_in_flight),
            str(b.resent_in_flight),
        ),
        ("journaled and paid twice", f"no journal: {a.paid_twice}", str(b.paid_twice)),
        ("tool calls repeated", str(a.tool_calls_repeated), str(b.tool_calls_repeated)),
        ("seconds from kill to next step", _after(a), _after(b)),
        ("tokens, in + out", _tokens(a), _tokens(b)),
        ("money", _money(a), _money(b)),
    ]


def _after(column: Column) -> str:
    after = column.seconds_to_next_step
    return "-" if after is None else f"{after:.2f}"


def _tokens(column: Column) -> str:
    return f"{column.input_tokens:,} + {column.output_tokens:,}"


def _money(column: Column) -> str:
    return "-" if column.cost is None else f"${column.cost:.4f}"


def _remarks(figures: Figures, money: str) -> list[Text]:
    lines = [Text(f"Money: {money}.", style="dim")]
    if figures.same_report:
        lines.append(Text("Both sides wrote the same report, word for word.", style="dim"))
    if figures.broken:
        lines.append(Text(f"PROMISE BROKEN: {'; '.join(figures.broken)}.", style="bold red"))
    elif figures.slow:
        lines.append(
            Text(
                f"It took more than the promised {PROMISED_S} s: a busy machine does that.",
                style="yellow",
            )
        )
    return lines


def _next(figures: Figures, kept: Path | None) -> list[Text]:
    """Three lines to type; a kept journal is named in full."""
    if kept is not None:
        return [
            Text(f"The files are in {kept}. Look into the journal:"),
            Text(f"  perdure runs show {figures.run_id} --store sqlite:///{kept}/perdure.db"),
            Text(
                f"  perdure runs events {figures.run_id} --text --store sqlite:///{kept}/perdure.db"
            ),
        ]
    lines = [
        ("perdure demo --docs FOLDER", "the same with your own documents"),
        ("perdure dev FILE.py:AGENT", "your own agent, served and durable"),
        ("perdure demo --keep", "keep the files, to look into the journal"),
    ]
    width = max(len(command) for command, _ in lines)
    return [
        Text.assemble("  ", (command.ljust(width), "bold"), f"  {what}") for command, what in lines
    ]
