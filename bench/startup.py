"""What importing costs, and how soon the command line answers; everything byte-compiled."""

from __future__ import annotations

import asyncio
import compileall
import subprocess
import sys
import time
from pathlib import Path

import perdure
from bench.figure import Figure, Size, median

IMPORT_MS = 50.0
HELP_MS = 250.0
COMMANDS = {
    "bare": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import perdure"],
    "help": [str(Path(sys.executable).parent / "perdure"), "--help"],
}


def _milliseconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1e3


async def measure(size: Size) -> list[Figure]:
    """Interleaved starts of Python alone, with the import, and of ``perdure --help``."""
    compileall.compile_dir(str(Path(perdure.__file__).parent), quiet=1)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for i in range(size.of(4 * size.repeat, 3) + 1):
        for name, command in COMMANDS.items():
            taken = await asyncio.to_thread(_milliseconds, command)
            if i:
                times[name].append(taken)
    bare = median(times["bare"])
    over = median(
        taken - without for taken, without in zip(times["import"], times["bare"], strict=True)
    )
    return [
        Figure(
            "startup", "import perdure, over Python alone", over, "ms", IMPORT_MS,
            beside=f"Python alone: {bare:.0f} ms",
        ),
        Figure("startup", "perdure --help", median(times["help"]), "ms", HELP_MS),
    ]  # fmt: skip
