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
    help="echo, research, load, file.py:name or module:name.",
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
@click.option(
    "--limits",
    multiple=True,
    metavar="LIMITS",
    help="Rate limits: a JSON file, JSON, or words such as 'rpm=60 tpm=100000 kind=window by=key'.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME[:PORT]",
    help="Serve a target on a port of its own too, so that it can be down alone.",
)
@click.option(
    "--sizes",
    metavar="SHAPE:MEAN:TAIL",
    help="Sizes of the answers of --brain load, in tokens: fixed, lognormal or pareto.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=0.0,
    metavar="N",
    help="Tokens a second that --brain load produces; 0: at once.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Of sizes and of cache misses.")
@click.option(
    "--cache",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Cache prompts; this share of the hits is missed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the accounting as JSON at the end.")
def provider(
    host: str,
    port: int,
    brain: str,
    faults: Path | None,
    port_file: Path | None,
    rows: int | None,
    limits: tuple[str, ...],
    targets: tuple[str, ...],
    sizes: str | None,
    rate: float,
    seed: int,
    cache: float | None,
    as_json: bool,
) -> None:
    """A model provider that answers by script, fails on demand and counts its calls.

    It speaks the APIs of Anthropic, OpenAI and Google (Gemini), and keeps rate limits as they do.
    The first line on stdout is its URL, further ones are those of targets; a line on stderr says
    how calls to it are captured. Ends on SIGTERM or Ctrl-C.
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
            limits=limits,
            targets=targets,
            sizes=sizes,
            rate=rate,
            seed=seed,
            cache=cache,
            json=as_json,
        )
    )
