"""``perdure replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.cli.offline.document import Export
    from perdure.cli.offline.replay import Report
    from perdure.config import Config


@click.command("replay")
@click.argument("run", metavar="FILE|RUN")
@click.argument("target", metavar="TARGET")
@click.option("--pdb", "debug", is_flag=True, help="Stop at the first line, and where it raises.")
@options.as_json
@options.settings
def command(
    run: str,
    target: str,
    debug: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """Run an agent again on a journal, offline.

    Every effect is answered as it was recorded: no calls, no cost. FILE is what perdure runs export
    wrote; a RUN is read from the store. Sockets and subprocesses are blocked meanwhile.

    The result goes to stdout. The exit code is 0 where the code does what is recorded, and 1 where
    it does something else. A run that has not ended is replayed to the end of its journal. --json
    prints {"run", "outcome": "returned"|"raised"|"stopped", "same", "differs", "result", "error",
    "stopped_at", "answered", "reused", "unread", "contacts"}.
    """
    import asyncio
    import bdb
    from contextlib import nullcontext

    from perdure.cli import outcome, process
    from perdure.cli.agents import load_agents
    from perdure.cli.offline.replay import choose, replay
    from perdure.cli.terminal import output
    from perdure.cli.terminal.replay import answered, conclusion
    from perdure.errors import Diverged

    config = options.load(config_file, store)
    process.prepare(config)
    found = _export(run, config)
    agent = choose(load_agents([target], config), found, target)

    async def main() -> Report:
        return await replay(found, agent, config, on_answer=answered, debug=debug)

    try:
        with nullcontext() if debug else output.agents_print_to_stderr():
            report = asyncio.run(main())
    except bdb.BdbQuit:
        raise click.Abort from None
    if json_:
        output.document(report.to_dict())
    else:
        conclusion(report, found)
        outcome.print_result(report.result)
    if report.differs is not None:
        raise Diverged(
            f"The replay differs from what is recorded: {report.differs}.",
            hint=f"Look at it: perdure replay {run} {target} --pdb",
        )
    return 0


def _export(run: str, config: Config) -> Export:
    """From a file, else from the store."""
    import asyncio

    from perdure.cli import process
    from perdure.cli.offline.document import gather, load
    from perdure.errors import NotFound

    path = Path(run)
    if path.is_file():
        return load(path.read_bytes(), run)

    async def read() -> Export:
        async with process.open_store(config) as opened:
            return await gather(opened, process.open_blobs(config), run)

    try:
        return asyncio.run(read())
    except NotFound:
        raise NotFound(f"{run!r} is neither a file nor a run of {config.store.url}.") from None
