"""The simulator as a process of its own: what ``perdure simulate provider`` and
``python -m perdure.testing.simulator`` run."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import os
import signal
import sys
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.errors import TargetError
from perdure.testing.simulator.app import build
from perdure.testing.simulator.brain import Brain, echo
from perdure.testing.simulator.faults import FaultPlan
from perdure.testing.simulator.research import research
from perdure.testing.simulator.server import Server, listen, run, url_of
from perdure.testing.simulator.simulation import DEFAULT_ROWS, Simulation

__all__ = ["Options", "add_arguments", "load", "serve"]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``serve`` needs. ``brain``: echo, research, ``file.py:name`` or ``module:name``."""

    host: str = "127.0.0.1"
    port: int = 0
    brain: str = "echo"
    faults: Path | None = None
    port_file: Path | None = None
    rows: int = DEFAULT_ROWS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options, whose names are those of ``Options``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument(
        "--brain", default="echo", help="echo, research, file.py:name or module:name"
    )
    parser.add_argument("--faults", type=Path, help="fault plan, a JSON file")
    parser.add_argument("--port-file", type=Path, help="write the port here once listening")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="calls to remember")


def load(target: str) -> Brain:
    """The brain a target names. Raises TargetError."""
    if target == "echo":
        return echo
    if target == "research":
        return research()
    place, _, name = target.rpartition(":")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            if spec is None or spec.loader is None:
                raise ImportError(f"no such file: {place}")
            module = importlib.util.module_from_spec(spec)
            # Dataclasses and pickling look their module up by name.
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        brain: Brain = getattr(module, name)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        raise TargetError(
            f"The brain {target!r} cannot be loaded: {error}",
            hint="Use echo, research, file.py:name or module:name.",
        ) from error
    if not callable(brain):
        raise TargetError(f"The brain {target!r} is not callable.")
    return brain


def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. The first line on stdout is the URL.

    Raises PortInUse, TargetError and InvalidInput before anything is served.
    """
    faults = FaultPlan.from_file(options.faults) if options.faults else FaultPlan()
    simulation = Simulation(load(options.brain), rows=options.rows)
    simulation.set_faults(faults)
    sock = listen(options.host, options.port)

    async def main() -> None:
        ready: Future[Server] = Future()
        running = asyncio.ensure_future(run(build(simulation), sock, ready))
        up = asyncio.wrap_future(ready)
        first: list[asyncio.Future[Any]] = [running, up]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            server = up.result()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: server.end())
            if options.port_file is not None:
                _write_whole(options.port_file, str(sock.getsockname()[1]))
            print(url_of(sock), flush=True)
            print(_captured(*sock.getsockname()[:2]), file=sys.stderr, flush=True)
        await running

    asyncio.run(main())


def _captured(host: str, port: int) -> str:
    """Nobody knows this address as a provider's, so the agents' settings have to say it."""
    return (
        "To have calls to it captured, say in the agents' perdure.toml which API they use:\n"
        f'  [gateway.providers]\n  "{host}:{port}" = "openai"   # or "anthropic", "google"'
    )


def _write_whole(path: Path, text: str) -> None:
    """Writes so that a reader sees all or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
