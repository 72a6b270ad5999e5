"""``perdure demo``: an unmodified LangGraph agent is killed with -9 in the middle of its work,
once run by ``python agent.py`` and once by Perdure with two workers, side by side.

``python -m perdure.demo``, ``perdure demo`` and ``make demo`` are this one code path. It is a test
too: a promise that does not hold is exit code 1.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.demo.figures import Figures

__all__ = ["Options", "main"]

KILL_AT = 8
INTERRUPTED, TERMINATED = 130, 143


@dataclass(frozen=True, slots=True)
class Options:
    """``docs``: a folder or file to read instead of the project's own documents. ``kill_at``: the
    model call in which each side is killed. ``plain``: lines instead of panels. ``json``: print
    the figures as JSON; everything else goes to stderr. ``keep``: do not remove the files.
    ``environ`` may hold ``MODEL`` (local, simulated), ``ANTHROPIC_API_KEY``, ``RESEARCH_MODEL``."""

    docs: Path | None = None
    kill_at: int = KILL_AT
    plain: bool = False
    json: bool = False
    keep: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)


def main(options: Options | None = None) -> int:
    """Play the demo; returns the exit code. Raises UsageError and other PerdureErrors."""
    try:
        figures = asyncio.run(_play(options or Options()))
    except (KeyboardInterrupt, asyncio.CancelledError) as ended:
        print("The demo was ended; its processes and files are gone.", file=sys.stderr)
        return INTERRUPTED if isinstance(ended, KeyboardInterrupt) else TERMINATED
    return 1 if figures.broken else 0


async def _play(options: Options) -> Figures:
    # Imported here, so that asking for help does not load a web server.
    import orjson
    from rich.console import Console

    from perdure.demo.corpus import gather
    from perdure.demo.provider import provide
    from perdure.demo.race import Workplace, end_on_sigterm, race
    from perdure.demo.screen import Lines, Panels, Screen
    from perdure.demo.side import Story
    from perdure.demo.table import page

    end_on_sigterm()
    console = Console(stderr=options.json, highlight=False)
    screen: Screen
    if options.plain or options.json or not console.is_terminal:
        screen = Lines(console, Story())
    else:
        screen = Panels(console)
    async with provide(options.environ) as provider:
        longest = 500 if provider.kind == "local" else 6000
        corpus = gather(options.docs, longest=longest)
        console.print("[bold]A LangGraph agent, killed in the middle of its work[/]")
        console.print(f"[dim]reads[/]  {len(corpus.documents)} documents of {corpus.source}")
        console.print(f"[dim]model[/]  {provider.words}")
        with Workplace(keep=options.keep) as folder:
            figures = await race(
                corpus, provider, screen, kill_at=options.kill_at, environ=options.environ,
                folder=folder,
            )  # fmt: skip
    if options.json:
        print(orjson.dumps(figures.to_dict(), option=orjson.OPT_INDENT_2).decode(), flush=True)
    console.print(
        page(figures, provider.money, folder if options.keep else None), soft_wrap=options.keep
    )
    return figures
