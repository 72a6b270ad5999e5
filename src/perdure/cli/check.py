"""``perdure check``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from perdure.cli import options

DIVERGE, UNCLEAR, RAISE = 20, 21, 22  # exit codes


@click.command("check")
@click.argument("targets", metavar="TARGET...", type=options.TARGET, nargs=-1, required=True)
@click.option("--agent", "only", multiple=True, metavar="NAME", help="Only runs of this agent.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many runs.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=16, help="Rehearsals at a time (16)."
)
@click.option("--timeout", default="60s", metavar="TIME", help="What one rehearsal may take (60s).")
@click.option("--strict", is_flag=True, help="Runs that go on, but otherwise, count as diverging.")
@options.online
@options.as_json
@options.settings
def command(
    targets: tuple[str, ...],
    only: tuple[str, ...],
    limit: int | None,
    concurrency: int,
    timeout: str,
    strict: bool,
    online: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """Which unfinished runs this code would break, before it is deployed.

    Every unfinished run of the store is rehearsed on the code of TARGET: its effects are answered
    from its journal up to the first that is not recorded. Nothing goes out: sockets and
    subprocesses are blocked, unless --online, and what tries to reach them is reported with its
    line, as are files that are written outside effects. No run is taken and nothing is written to
    the store; checkpoints of graphs are copied into memory.

    A run "fits" (it goes on where it is), "changed" (it goes on, but otherwise: a prompt differs,
    recorded work is not asked for), "diverges" (the code goes against what is recorded: it would
    park for an operator, or its input would be refused), "raises" (the code ends in an error of
    its own, which the run's last attempt did not), or is "unclear" (it could not be found out in
    time, or its checkpoints cannot be read).

    The exit code is 20 where some diverge (with --strict also for "changed"), else 22 where some
    raise, else 21 where some are unclear, else 0. --json prints {"checked", "fits", "changed",
    "diverges", "raises", "unclear", "elsewhere": {AGENT: N}, unfinished runs of agents that TARGET
    does not hold, "runs": [{"run", "agent", "state", "verdict", "says", "at", "answered",
    "recorded", "reused", "contacts"}]}, at being the line of code, answered of recorded how many
    effects the journal answered, reused the changed model calls.
    """
    from perdure.cli import process
    from perdure.cli.agents import load_agents
    from perdure.cli.offline.check import check, elsewhere, unfinished
    from perdure.cli.offline.verdict import Checked, Verdict
    from perdure.cli.terminal import output
    from perdure.cli.terminal.checked import Checking, print_checked
    from perdure.errors import NotFound

    config = options.load(config_file, store)
    within = options.duration(timeout, "--timeout")
    assert within is not None
    process.prepare(config, shown=True)
    agents = load_agents(targets, config)
    for name in only:
        if name not in agents:
            raise NotFound(
                f"{', '.join(targets)} holds no agent {name!r}.",
                hint=f"Agents there: {', '.join(agents)}",
            )
    names = [name for name in agents if name in only or not only]
    found: list[Checked] = []
    others: dict[str, int] = {}

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config) as opened:
            if not only:
                others.update(await elsewhere(opened, agents))
            run_ids = await unfinished(opened, names, limit)
            stop.listen()
            with Checking(len(run_ids)) as shown:

                def told(checked: Checked) -> None:
                    found.append(checked)
                    shown.tell(checked)

                work = check(
                    opened,
                    process.open_blobs(config),
                    run_ids,
                    agents,
                    config,
                    concurrency=concurrency,
                    timeout=within,
                    online=online,
                    on_checked=told,
                )
                return stop.exit_code if await stop.unless(work) else 0

    with output.agents_print_to_stderr():
        code = process.run_process(main)
    if code:
        return code
    count = Counter(checked.verdict for checked in found)
    if json_:
        totals = {verdict.value: count[verdict] for verdict in Verdict}
        runs = [checked.to_dict() for checked in found]
        output.document({"checked": len(found), **totals, "elsewhere": others, "runs": runs})
    else:
        print_checked(found, others)
    if count[Verdict.DIVERGES] or (strict and count[Verdict.CHANGED]):
        return DIVERGE
    if count[Verdict.RAISES]:
        return RAISE
    return UNCLEAR if count[Verdict.UNCLEAR] else 0
