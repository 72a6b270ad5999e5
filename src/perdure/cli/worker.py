"""``perdure worker``."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli import options
from perdure.core.words import counted


@click.command("worker")
@click.argument("targets", metavar="TARGET...", type=options.TARGET, nargs=-1, required=True)
@options.worker_options
@options.settings
def command(
    targets: tuple[str, ...],
    concurrency: int | None,
    max_attempt: str | None,
    drain: str | None,
    store: str | None,
    config_file: Path | None,
) -> int:
    """A worker: executes runs, serves nothing.

    SIGTERM ends every attempt between two effects (within --drain) and exits with 0; a second one
    ends the process at once, with 143. Either way no run is lost.
    """
    config = options.load(
        config_file,
        store,
        worker__concurrency=concurrency,
        worker__max_attempt=max_attempt,
        worker__drain=drain,
    )
    from perdure.cli import process
    from perdure.cli.agents import load_agents

    process.prepare(config)
    agents = load_agents(targets, config)

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config, create=True) as opened:
            worker = process.make_worker(config, opened, agents)
            stop.bound(worker)
            stop.listen()
            async with process.capturing(config, worker.runtime):
                await worker.start()
                process.tell(
                    config, f"Worker {worker.id} is ready: {', '.join(agents)} on {opened.url}"
                )
                await stop.asked.wait()
                process.tell(
                    config,
                    f"Draining: {counted(worker.running, 'run ends', 'runs end')} between two "
                    "effects. "
                    "A second signal ends them now.",
                )
                await process.drain(worker, stop)
        return stop.exit_code if stop.again.is_set() else 0

    return process.run_process(main)
