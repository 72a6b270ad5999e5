"""Commands that change runs one by one and say what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson

from perdure.cli import process
from perdure.cli.terminal import output
from perdure.config import Config
from perdure.server.run_view import summary
from perdure.store.base import Store
from perdure.store.rows import Run


def change(
    run_ids: Sequence[str],
    verb: Callable[[Store, str], Awaitable[Run]],
    config: Config,
    *,
    json_: bool,
) -> None:
    """Do it to each; the first that cannot be done ends it. ``--json`` prints ``{"runs": [...]}``
    with what was done."""
    process.prepare(config)

    async def main() -> None:
        done: list[Run] = []
        async with process.open_store(config) as store:
            try:
                for run_id in run_ids:
                    run = await verb(store, run_id)
                    done.append(run)
                    if not json_:
                        asked = run.cancel_requested and not run.state.final
                        print(f"{run.id}  {run.state}{' (asked to stop)' if asked else ''}")
            finally:
                if json_:
                    shown = [summary(run) for run in done]
                    output.document({"runs": orjson.loads(orjson.dumps(shown))})

    asyncio.run(main())
