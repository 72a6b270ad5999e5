"""``perdure simulate``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("simulate")
def command() -> None:
    """Stand-ins for what costs money."""


@command.command("provider")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Port; 0 takes a free one.",
)
@click.option(
    "--brain",
    default="echo",
    show_default=True,
    metavar="NAME",
    help="echo, research, file.py:name or module:name.",
)
@click.option(
    "--faults",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Fault plan, a JSON file.",
)
@click.option(
    "--port-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the port here once listening.",
)
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Calls to remember.")
def provider(
    host: str,
    port: int,
    brain: str,
    faults: Path | None,
    port_file: Path | None,
    rows: int | None,
) -> None:
    """A model provider that answers by script, fails on demand and counts its calls.

    It speaks the APIs of Anthropic, OpenAI and Google (Gemini). The first line on stdout is its
    URL; a line on stderr says how calls to it are captured. Ends on SIGTERM or Ctrl-C.
    """
    from perdure.testing.simulator.process import Options, serve
    from perdure.testing.simulator.simulation import DEFAULT_ROWS

    serve(
        Options(
            host=host,
            port=port,
            brain=brain,
            faults=faults,
            port_file=port_file,
            rows=rows or DEFAULT_ROWS,
        )
    )
