"""Make the journals that ``test_replays`` holds newer versions to.

    python -m tests.compat.record AGENT [AGENT ...]

Run in an environment of the oldest supported versions (``make test-oldest`` makes .venv-oldest);
AGENT is one of the kill tests' agents. A worker executes one run of it over SQLite and the provider
simulator, and what ``perdure runs export`` gives is written to tests/compat/journals/AGENT.json.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from uuid import uuid4

from perdure.cli.offline.document import dump, gather
from perdure.core.crash import Point
from perdure.store.blobs import FileBlobs
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
            found = await gather(scene.store, FileBlobs(Path(folder)), run_id)
            JOURNALS.mkdir(exist_ok=True)
            file.write_bytes(dump(found, await scene.store.now()))
    return file


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", metavar="AGENT", nargs="+", choices=AGENTS)
    for agent in parser.parse_args().agents:
        file = await record(agent)
        print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    asyncio.run(main())
