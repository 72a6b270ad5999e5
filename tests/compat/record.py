"""Make the journals that ``test_replays`` holds newer versions to.

    python -m tests.compat.record AGENT [AGENT ...]

Run in an environment of the oldest supported versions (``make oldest``); AGENT is one of the kill
tests' agents. A worker executes one run of it over SQLite and the provider simulator, and what
``perdure runs export`` gives is written to tests/compat/journals/AGENT.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from perdure.core.crash import Point
from perdure.store.rows import NewRun
from tests.faults.cases import AGENTS
from tests.faults.harness import Case, Scene, until

JOURNALS = Path(__file__).parent / "journals"


async def record(agent: str) -> Path:
    """Returns the file that was written."""
    case = Case(Point.AFTER_CLAIM, "sqlite", agent, runs=1)
    file = JOURNALS / f"{agent}.json"
    with tempfile.TemporaryDirectory() as folder:
        async with Scene(Path(folder), case, None) as scene:
            run_id = str(uuid4())
            await scene.store.enqueue([NewRun(run_id, agent, b'"key0"', queue=agent)])
            scene.worker()

            async def over() -> bool:
                return (await scene.store.get(run_id)).state.final

            await until(over, f"the run of {agent}")
            run = await scene.store.get(run_id)
            if run.state != "succeeded":
                raise SystemExit(f"{agent}: {run.state} {run.error}\n{scene.output()}")
            JOURNALS.mkdir(exist_ok=True)
            export = subprocess.run(
                [sys.executable, "-m", "perdure", "runs", "export", run_id, "--store", scene.url],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                cwd=folder,
                stdout=subprocess.PIPE,
                check=True,
            )
    file.write_bytes(export.stdout)
    return file


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", metavar="AGENT", nargs="+", choices=AGENTS)
    for agent in parser.parse_args().agents:
        file = await record(agent)
        print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    asyncio.run(main())
