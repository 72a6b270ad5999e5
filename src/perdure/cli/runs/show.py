"""``perdure runs show``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perdure.cli import options

LEDGER = 100_000  # rows


@click.command("show")
@click.argument("run_id", metavar="RUN", type=options.RUN)
@click.option("--full", is_flag=True, help="Whole names of branches, and every effect.")
@options.as_json
@options.settings
def command(
    run_id: str, full: bool, json_: bool, store: str | None, config_file: Path | None
) -> None:
    """A run: what holds it, what to do about it, and its effects over time.

    Of whatever holds the run it says which command is the next. Effects are shown as bars, nested
    as they happened inside each other; behind ⑂ is the branch of the agent's own concurrency, in
    short. A long wait is folded. Below a model call that a route sent somewhere, or that was not
    answered at once, is who answered, why, and what it cost. Clocks, random numbers, and events
    that a framework's adapter tells are shown with --full only.

    --json prints the fields of GET /api/runs/{id}, and: "findings": [{"says", "steps": [{"command",
    "when"}]}], what holds the run; "attempts_made": [{"epoch", "attempt", "worker", "began_s",
    "ended_s", "recorded", "added", "ending", "why"}], one for each claim, recorded being how many
    effects the journal answered it at most and added how many it added; "stretches": [{"what",
    "began_s", "ended_s"}], what being queued, running or waiting; "effects": [{"key", "scope",
    "branch", "kind", "name", "state", "promise", "started_s", "took_ms", "attempt", "reused",
    "error", "tries": [{"attempt", "state", "started_s", "took_ms"}], "contacts": [{"source",
    "provider", "model", "key", "route", "target", "why", "cost_usd", ...}]}], oldest first,
    contacts being what the ledger has of a model call. began_s and ended_s are in seconds from the
    run's making, started_s from its first start; attempt of an effect is the epoch of the attempt
    that performed it last.
    """
    import asyncio
    import shlex
    from dataclasses import asdict

    from perdure.cli import outcome, process
    from perdure.cli.diagnosis.run import diagnose, with_options
    from perdure.cli.follow import whole_log
    from perdure.cli.terminal import output
    from perdure.cli.waterfall.contacts import total
    from perdure.cli.waterfall.page import print_page
    from perdure.cli.waterfall.timeline import timeline
    from perdure.store.costs import CostFilter

    config = options.load(config_file, store)
    process.prepare(config)

    named = f" --store {shlex.quote(store)}" if store else ""
    if config_file is not None:
        named += f" --config {shlex.quote(str(config_file))}"

    async def main() -> None:
        async with process.open_store(config) as opened:
            run = outcome.fetched(await opened.get(run_id), process.open_blobs(config))
            log = await whole_log(opened, run_id)
            now = await opened.now()
            ledger = await opened.charges(CostFilter(run_id=run_id, limit=LEDGER))
            line = timeline(run, log, now, ledger)
            findings = with_options(await diagnose(opened, run, line, now), named)
        if not json_:
            print_page(run, line, findings, now, total(ledger), full=full)
            return
        document = outcome.document(run)
        document["findings"] = [finding.to_dict() for finding in findings]
        document["attempts_made"] = [_attempt(asdict(one)) for one in line.attempts]
        document["stretches"] = [_seconds(asdict(one)) for one in line.stretches]
        offset = 0.0
        if run.started_at is not None:
            offset = (run.started_at - run.created_at).total_seconds()
        document["effects"] = [effect.to_dict(offset) for effect in line.effects]
        output.document(document)

    asyncio.run(main())


def _attempt(one: dict[str, Any]) -> dict[str, Any]:
    return _seconds({"epoch": one["epoch"], "attempt": one.pop("number"), **one})


def _seconds(one: dict[str, Any]) -> dict[str, Any]:
    began, ended = one.pop("began"), one.pop("ended")
    return {**one, "began_s": round(began, 3), "ended_s": round(ended, 3)}
