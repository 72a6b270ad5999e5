"""``perdure budgets``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.core.balances import Line

LISTED = 100_000  # documents


@click.command("budgets")
@click.option("--name", metavar="NAME", help="Only this budget.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, help="Lines shown (50).")
@options.as_json
@options.settings
def command(
    name: str | None, limit: int, json_: bool, store: str | None, config_file: Path | None
) -> None:
    """What each budget has left.

    Of the settings' [[budgets]] each run, agent, tenant ... that spent any, in its present period.
    RESERVED is what calls under way may still cost, and what runs have set aside.

    --json prints {"budgets": [{"name", "per", "subject", "every", "hard", "amount_usd",
    "spent_usd", "reserved_usd", "planned_usd", "left_usd", "begins_anew_at"}], "more"}.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.core.balances import lines
    from perdure.core.budget import PREFIX
    from perdure.core.shared import Swapped
    from perdure.core.words import counted
    from perdure.errors import NotFound

    config = options.load(config_file, store)
    budgets = [budget for budget in config.budgets if name in (None, budget.name)]
    if name is not None and not budgets:
        raise NotFound(
            f"There is no budget {name!r}.",
            hint=f"Budgets: {', '.join(budget.name for budget in config.budgets) or 'none'}",
        )
    process.prepare(config)

    async def main() -> Swapped:
        async with process.open_store(config) as opened:
            return await opened.listed(PREFIX, LISTED)

    listed = asyncio.run(main())
    found = lines(budgets, listed.documents, listed.now)
    shown, more = found[:limit], max(0, len(found) - limit)
    if json_:
        output.document({"budgets": [line.document() for line in shown], "more": more})
        return
    if not config.budgets:
        output.note("The settings name no [[budgets]].")
        return
    if not shown:
        output.note("Nothing was spent of any budget yet.")
        return
    styles = {}
    for i, line in enumerate(shown):
        full = line.left <= 0
        soft = any(line.spent >= amount for amount in line.budget.soft)
        styles[i, 5] = "red" if full else "yellow" if soft else "green"
    output.table(
        ["BUDGET", "OF", "AMOUNT", "SPENT", "RESERVED", "LEFT", "BEGINS ANEW"],
        [_row(line) for line in shown],
        cell_styles=styles, shrink=1, optional=[6, 4],
    )  # fmt: skip
    if more:
        output.note(f"{counted(more, 'line')} more: --limit.")


def _row(line: Line) -> list[str]:
    from perdure.cli.terminal.costs import money

    budget = line.budget
    left = money(line.left) if line.left >= 0 else f"-{money(-line.left)}"
    kept = line.reserved + line.planned
    anew = "never"
    if line.anew is not None:
        anew = f"{datetime.fromtimestamp(line.anew, UTC):%Y-%m-%d %H:%M} UTC"
    return [
        budget.name if budget.hard else f"{budget.name} (soft)",
        f"{budget.per} {line.subject}".rstrip() if budget.per != "all" else "all",
        money(budget.usd),
        money(line.spent),
        money(kept) if kept else "-",
        left,
        anew,
    ]
