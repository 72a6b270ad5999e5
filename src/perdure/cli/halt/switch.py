"""What ``perdure halt agent`` and ``perdure halt tenant`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.config import Config
    from perdure.runtime.halting import Halted


def switch(kind: str, name: str, reason: str, *, json_: bool, config: Config) -> None:
    """Halt it. Raises InvalidInput."""
    import asyncio
    import getpass

    from perdure.cli import process
    from perdure.cli.terminal import output
    from perdure.runtime.halting import halt
    from perdure.server.routes.halts import view

    try:
        by = getpass.getuser()
    except (KeyError, OSError):  # a container without a user of that number
        by = "perdure"
    process.prepare(config)

    async def main() -> Halted:
        async with process.open_store(config) as opened:
            return await halt(opened, kind, name, by=by, reason=reason)

    halted = asyncio.run(main())
    if json_:
        output.document(view(halted))
        return
    print(f"The {kind} {name} makes no new model calls.")
    output.note(f"Lift it: perdure halt lift {kind} {name}")
