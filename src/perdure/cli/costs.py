"""``perdure costs``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.store.costs import CostFilter
    from perdure.store.spending import Report

FILTERS = (
    ("run", "RUN_ID", "Only of this run."),
    ("session", "NAME", "Only of this session."),
    ("agent", "NAME", "Only of this agent."),
    ("step", "NAME", "Only within steps and tools of this name."),
    ("feature", "NAME", "Only with this feature label."),
    ("tenant", "NAME", "Only for this tenant."),
    ("provider", "NAME", "Only to this provider."),
    ("model", "NAME", "Only to this model."),
    ("credential", "LABEL", "Only with this credential."),
    ("target", "NAME", "Only to this target of a route."),
    ("route", "NAME", "Only by this route."),
    ("source", "NAME", "Only sent, void, failed, cached or replayed ones."),
)


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each column of the ledger."""
    kinds = {"run": options.RUN, "agent": options.AGENT}
    for name, metavar, text in reversed(FILTERS):
        function = click.option(f"--{name}", metavar=metavar, type=kinds.get(name), help=text)(
            function
        )
    return function


@click.command("costs")
@click.option(
    "--by",
    default="model",
    metavar="NAME,...",
    help="Group by: run, session, agent, step, feature, tenant, provider, model, credential, "
    "target, route, why, source, priced, day, hour (model).",
)
@click.option(
    "--since", default="30d", metavar="TIME", help="From 7d ago, or from 2026-11-01, on (30d)."
)
@click.option("--until", metavar="TIME", help="Until 1d ago, or before 2026-12-01.")
@filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, help="Groups shown (50).")
@click.option("--anomalies", is_flag=True, help="Hours in which far more than usual was spent.")
@click.option("--csv", "csv_", is_flag=True, help="Print CSV.")
@options.as_json
@options.settings
def command(
    by: str,
    since: str,
    until: str | None,
    limit: int,
    anomalies: bool,
    csv_: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
    **wanted: str | None,
) -> None:
    """What model calls cost, by agent, model, day and more.

    CALLS went out to a provider; REPLAYED ones were answered from a journal, CACHED ones from the
    response cache. HITS is the part of the input that the provider's own cache held. A cost with ~
    is an estimate in part; one with ? lacks calls whose price nobody knows. Days and hours are
    UTC's.

    --json prints {"since", "until", "costs": [{"group", "calls", ..., "cost_usd", "saved_usd"}],
    "total", "more", "anomalies": [{"hour", "credential", "spent_usd", "usual_usd"}]}.
    """
    import asyncio
    from dataclasses import replace

    from perdure.cli import process
    from perdure.cli.terminal import costs as shown
    from perdure.cli.terminal import output
    from perdure.core.words import counted
    from perdure.runtime.spending import told
    from perdure.store.costs import CostFilter
    from perdure.store.spending import question, report

    if csv_ and json_:
        raise click.UsageError("--csv and --json are two ways to print.")
    config = options.load(config_file, store)
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    wanted["run_id"] = wanted.pop("run")
    asked = question(names, CostFilter(**wanted))  # type: ignore[arg-type]
    process.prepare(config)

    async def main() -> tuple[CostFilter, Report, list[dict[str, Any]]]:
        async with process.open_store(config) as opened:
            now = await opened.now()
            start = _moment(since, "--since", now)
            end = None if until is None else _moment(until, "--until", now)
            rows = await opened.costs(replace(asked, since=start, until=end))
            strange = await told(opened, start, end)
            return replace(asked, since=start, until=end), report(names, rows, limit), strange

    bounded, made, strange = asyncio.run(main())
    if json_:
        total = made.total.document()
        del total["group"]
        output.document(
            {
                "since": bounded.since.isoformat() if bounded.since else None,
                "until": bounded.until.isoformat() if bounded.until else None,
                "costs": [row.document() for row in made.rows],
                "total": total,
                "more": made.more,
                "anomalies": strange,
            }
        )
    elif anomalies:
        shown.print_anomalies(strange)
    elif csv_:
        shown.print_csv(names, made)
    else:
        shown.print_report(names, made)
        if strange:
            hours = counted(len(strange), "unusual hour")
            output.note(f"{hours} of spending: perdure costs --anomalies")


def _moment(text: str, option: str, now: datetime) -> datetime:
    """A time, or how long ago."""
    from perdure.config import duration
    from perdure.store.spending import moment

    try:
        return moment(text)
    except ValueError:
        pass
    try:
        ago: timedelta = duration(text)
        return now - ago
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a time, such as 2026-11-01, nor how long ago, such as 7d.",
            param_hint=option,
        ) from None
