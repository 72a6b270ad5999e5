"""What ``perdure limits`` does: looks at the pools' documents, once or again and again."""

from __future__ import annotations

import asyncio

from perdure.cli import process
from perdure.cli.limits import EVERY_S
from perdure.cli.terminal import gauges, output
from perdure.config import Config
from perdure.errors import StoreUnavailable
from perdure.gateway.standing import standing
from perdure.store.keeper import limits_kept


def limits(config: Config, *, once: bool, json_: bool) -> int:
    """Returns the exit code. Raises StoreUnavailable, MissingExtra, ConfigError."""
    process.prepare(config, shown=True)
    where = config.gateway.shared or config.store.url
    declared = len(config.limits)

    async def main(stop: process.Stop) -> int:
        async with (
            process.open_store(config) as store,
            limits_kept(config.gateway.shared, store) as keeper,
        ):
            found = await standing(keeper, config.limits)
            if json_:
                output.document(found.view())
                return 0
            if once or not output.moving(output.stdout()):
                if not found.pools:
                    output.note(gauges.nothing(declared))
                else:
                    gauges.show(found)
                return 0
            stop.listen()
            with gauges.Gauges(gauges.shown(where), declared) as board:

                async def draw() -> None:
                    last = found
                    while True:
                        try:
                            last = await standing(keeper, config.limits)
                            board.show(last, away=False)
                        except StoreUnavailable:
                            board.show(last, away=True)
                        await asyncio.sleep(EVERY_S)

                await stop.unless(draw())
        return 0 if stop.number == 2 else stop.exit_code

    return process.run_process(main)
