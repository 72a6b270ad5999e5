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
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from perdure.core.words import counted
from perdure.errors import InvalidInput, TargetError
from perdure.testing.simulator.app import build
from perdure.testing.simulator.brain import Brain, echo
from perdure.testing.simulator.doors import Doors
from perdure.testing.simulator.faults import FaultPlan
from perdure.testing.simulator.load import Sizes
from perdure.testing.simulator.load import load as load_brain
from perdure.testing.simulator.quota.books import MeterUse
from perdure.testing.simulator.quota.limit import read_quotas
from perdure.testing.simulator.quota.prompt_cache import PromptCache
from perdure.testing.simulator.research import research
from perdure.testing.simulator.server import Server, run
from perdure.testing.simulator.simulation import DEFAULT_ROWS, Simulation

__all__ = ["Options", "add_arguments", "load", "serve"]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``serve`` needs.

    ``brain``: echo, research, load, ``file.py:name`` or ``module:name``. ``limits``: see
    ``read_quotas``. ``targets``: ``NAME`` or ``NAME:PORT``. ``sizes`` and ``rate`` are those of
    ``load``; ``cache``: a share of prompt cache hits that are missed; None: nothing is cached.
    ``json``: print the accounting at the end.
    """

    host: str = "127.0.0.1"
    port: int = 0
    brain: str = "echo"
    faults: Path | None = None
    port_file: Path | None = None
    rows: int = DEFAULT_ROWS
    limits: Sequence[str] = ()
    targets: Sequence[str] = ()
    sizes: str | None = None
    rate: float = 0.0
    seed: int = 0
    cache: float | None = None
    json: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options, whose names are those of ``Options``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument(
        "--brain", default="echo", help="echo, research, load, file.py:name or module:name"
    )
    parser.add_argument("--faults", type=Path, help="fault plan, a JSON file")
    parser.add_argument("--port-file", type=Path, help="write the port here once listening")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="calls to remember")
    parser.add_argument("--limits", action="append", default=[], help="rate limits; repeatable")
    parser.add_argument(
        "--target", action="append", default=[], dest="targets", help="NAME[:PORT]; repeatable"
    )
    parser.add_argument("--sizes", help="sizes of the brain load's answers: lognormal:300:1.0")
    parser.add_argument("--rate", type=float, default=0.0, help="tokens a second, of load")
    parser.add_argument("--seed", type=int, default=0, help="of sizes and cache misses")
    parser.add_argument("--cache", type=float, help="cache prompts; the share of hits missed")
    parser.add_argument("--json", action="store_true", help="print the accounting at the end")


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
            hint="Use echo, research, load, file.py:name or module:name.",
        ) from error
    if not callable(brain):
        raise TargetError(f"The brain {target!r} is not callable.")
    return brain


def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. The first line on stdout is the URL, then one for each
    target: its name and URL.

    Raises PortInUse, TargetError and InvalidInput before anything is served.
    """
    faults = FaultPlan.from_file(options.faults) if options.faults else FaultPlan()
    quotas = [quota for given in options.limits for quota in read_quotas(given)]
    cache = None
    if options.cache is not None:
        cache = PromptCache(misses=options.cache, seed=options.seed)
    simulation = Simulation(_brain(options), rows=options.rows, limits=quotas, cache=cache)
    simulation.set_faults(faults)
    targets = _targets(options.targets)
    doors = Doors(options.host, options.port, targets)

    async def main() -> None:
        ready: Future[Server] = Future()
        running = asyncio.ensure_future(run(build(simulation, doors=doors), doors, ready))
        up = asyncio.wrap_future(ready)
        first: list[asyncio.Future[Any]] = [running, up]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            server = up.result()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: server.end())
            if options.port_file is not None:
                _write_whole(options.port_file, doors.url().rsplit(":", 1)[1])
            print(doors.url(), flush=True)
            for name in targets:
                print(name, doors.url(name), flush=True)
            addresses = [one["url"].removeprefix("http://") for one in doors.listed()]
            print(_captured(addresses), file=sys.stderr, flush=True)
        await running

    asyncio.run(main())
    if options.json:
        print(orjson.dumps(simulation.accounting().to_dict()).decode(), flush=True)
    elif quotas:
        for meter in simulation.accounting().meters:
            print(_line(meter), file=sys.stderr)


def _brain(options: Options) -> Brain:
    if options.brain != "load":
        return load(options.brain)
    sizes = Sizes.from_words(options.sizes) if options.sizes else None
    return load_brain(sizes, rate=options.rate, seed=options.seed)


def _targets(given: Sequence[str]) -> dict[str, int]:
    targets = {}
    for one in given:
        name, _, port = one.partition(":")
        if port and not port.isdecimal():
            raise InvalidInput(f"The target {one!r} has no port.", hint="Use NAME or NAME:PORT.")
        targets[name] = int(port or 0)
    return targets


def _line(meter: MeterUse) -> str:
    """A meter's use, for people."""
    where = " ".join(filter(None, (meter.quota, *meter.scope.values())))
    return (
        f"{where + ' ' if where else ''}{meter.limit} {meter.amount:,.0f}: at most "
        f"{meter.largest:,.0f} ({meter.largest_share:.3f}), used {meter.utilisation:.1%}, "
        f"{counted(meter.limited, 'call')} refused"
    )


def _captured(addresses: Sequence[str]) -> str:
    """Nobody knows these addresses as a provider's, so the agents' settings have to say it."""
    first, *others = (f'  "{address}" = "openai"' for address in addresses)
    return "\n".join((
        "To have calls to it captured, say in the agents' perdure.toml which API they use:",
        "  [gateway.providers]", f'{first}   # or "anthropic", "google"', *others,
    ))  # fmt: skip


def _write_whole(path: Path, text: str) -> None:
    """Writes so that a reader sees all or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
