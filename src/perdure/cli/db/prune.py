"""``perdure db prune``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.core.run import FINAL
from perdure.core.words import counted


@click.command("prune")
@click.option(
    "--older-than", metavar="TIME", help="Runs that ended this long ago, e.g. 30d, not by settings."
)
@click.option("--agent", metavar="NAME", help="With --older-than: only runs of this agent.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(sorted(state.value for state in FINAL)),
    help="With --older-than: only runs that ended so; may be given several times.",
)
@click.option(
    "--blobs", metavar="TIME", help="Large values this old that nothing refers to, at least 1h."
)
@click.option("--charges", metavar="TIME", help="Rows of the ledger that are this old, e.g. 400d.")
@click.option("--dry-run", "dry", is_flag=True, help="Only count; delete nothing.")
@options.as_json
@options.settings
def command(
    older_than: str | None,
    agent: str | None,
    states: tuple[str, ...],
    blobs: str | None,
    charges: str | None,
    dry: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> None:
    """Delete old runs, old costs and what nothing refers to.

    Without options what [retention] says, now instead of in time. Runs go with everything they
    had and with the runs they started; never before all of these are final, nor while their
    idempotency keys hold. What their calls cost stays in the ledger until it is old enough itself.
    Short transactions with pauses: workers go on meanwhile, and it may be broken off and begun
    again.

    --json prints {"dry_run", "runs", "rows", "charges", "blobs", "blob_bytes"}. With --dry-run,
    values of the runs that would go are not among the blobs.
    """
    import asyncio

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.config import RetentionConfig
    from perdure.core.run import RunState
    from perdure.errors import ConfigError
    from perdure.runtime.housekeeping import SWIFTLY, Pruned, Pruning
    from perdure.store.retention import Keeping, Retention, make_keeping

    config = options.load(config_file, store)
    age = options.duration(older_than, "--older-than")
    grace = options.duration(blobs, "--blobs")
    old = options.duration(charges, "--charges")
    if age is None and (agent is not None or states):
        raise ConfigError("--agent and --state go with --older-than.")
    if age is None and grace is None and old is None:
        keeping = make_keeping(config.retention)
    else:
        ages = {RunState(state): age for state in states or FINAL} if age is not None else {}
        rules = Retention(ages) if agent is None else Retention({}, {agent: ages})
        own = make_keeping(RetentionConfig(blobs=grace))  # refuses a grace that is too short
        keeping = Keeping(rules, None, own.blobs, old)
    if not keeping.anything:
        raise ConfigError(
            "Nothing is deleted by [retention]: everything is kept.",
            hint="perdure db prune --older-than 30d, or set retention.succeeded and its like.",
        )
    process.prepare(config)
    place = process.open_blobs(config)

    async def main() -> Pruned:
        async with process.open_store(config) as opened:
            if not output.stderr().is_terminal:
                return await Pruning(opened, place, keeping, pace=SWIFTLY, dry=dry).run()
            with output.stderr().status("") as status:
                return await Pruning(
                    opened,
                    place,
                    keeping,
                    pace=SWIFTLY,
                    dry=dry,
                    told=lambda done: status.update(_said(done, dry)),
                ).run()

    done = asyncio.run(main())
    if json_:
        output.document(
            {
                "dry_run": dry,
                "runs": done.runs,
                "rows": done.rows,
                "charges": done.charges,
                "blobs": done.blobs,
                "blob_bytes": done.blob_bytes,
            }
        )
    else:
        print(_said(done, dry))


def _said(done: object, dry: bool) -> str:
    from perdure.cli.terminal.sizes import short_bytes
    from perdure.runtime.housekeeping import Pruned

    assert isinstance(done, Pruned)
    rows = "" if dry else f", {counted(done.rows, 'row')}"
    charges = f", {counted(done.charges, 'charge')}" if done.charges else ""
    blobs = (
        f", {counted(done.blobs, 'blob')} ({short_bytes(done.blob_bytes)})" if done.blobs else ""
    )
    return (
        f"{'Would delete' if dry else 'Deleted'} {counted(done.runs, 'run')}{rows}{charges}{blobs}"
    )
