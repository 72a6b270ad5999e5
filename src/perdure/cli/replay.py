"""``perdure replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options

if TYPE_CHECKING:
    from perdure.cli.offline.replay import Report


@click.command("replay")
@click.argument("run", metavar="FILE|RUN")
@click.argument("target", metavar="TARGET")
@click.option(
    "--pdb",
    "debug",
    is_flag=True,
    help="Stop at the first line, at what the journal does not answer, and where it raises.",
)
@click.option(
    "--break-at",
    metavar="EFFECT",
    help="With pdb, stop at this effect: NAME, KIND:NAME, NAME#2 for the second, or its key.",
)
@options.online
@options.as_json
@options.settings
def command(
    run: str,
    target: str,
    debug: bool,
    break_at: str | None,
    online: bool,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """Run an agent again on a journal, offline.

    Every effect is answered as it was recorded: no calls, no cost. FILE is what perdure runs export
    wrote; a RUN is read from the store. Sockets and subprocesses are blocked meanwhile. With
    --online they are not, for agents whose framework asks MCP servers for their tools: still no
    effect is performed.

    With --pdb a plain function is stopped at its first line; --break-at stops at an effect instead,
    in any framework. Both stop at the first effect that the journal does not answer, and where the
    agent raises. In pdb, n steps over an effect, c goes on, q ends.

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
    from perdure.cli.offline.debugger import Debugger
    from perdure.cli.offline.replay import choose, replay
    from perdure.cli.offline.source import exports
    from perdure.cli.terminal import output
    from perdure.cli.terminal.replay import answered, conclusion
    from perdure.errors import Diverged

    config = options.load(config_file, store)
    process.prepare(config)
    (found,) = exports([run], config)
    agent = choose(load_agents([target], config), found, target)

    debugger = None
    if debug or break_at is not None:
        debugger = Debugger(break_at, output.note)

    async def main() -> Report:
        return await replay(found, agent, config, on_answer=answered, debug=debugger, online=online)

    try:
        with output.agents_print_to_stderr() if debugger is None else nullcontext():
            report = asyncio.run(main())
    except bdb.BdbQuit:
        raise click.Abort from None
    if debugger is not None and break_at is not None and not debugger.met:
        output.note(f"The agent did not ask for {break_at!r}: perdure runs show names its effects.")
    if json_:
        output.document(report.to_dict())
    else:
        conclusion(report, found, online=online)
        outcome.print_result(report.result)
    if report.differs is not None:
        raise Diverged(
            f"The replay differs from what is recorded: {report.differs}.",
            hint=_hint(report, f"perdure replay {run} {target}", online),
        )
    return 0


def _hint(report: Report, command: str, online: bool) -> str:
    look = f"Look at it: {command} --pdb"
    if report.contacts and not online:
        return f"{look}; where it must reach an MCP server: {command} --online"
    return look
