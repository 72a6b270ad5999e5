"""Runs that a command is given: a file that was exported, or a run of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from perdure.cli import process
from perdure.cli.offline.document import Export, gather, load
from perdure.config import Config
from perdure.errors import InvalidInput, NotFound


def exports(names: Sequence[str], config: Config) -> list[Export]:
    """Each of them, in order. The store is opened only where a name is no file. Raises NotFound,
    InvalidInput."""
    found = {name: _file(name) for name in dict.fromkeys(names) if Path(name).is_file()}
    others = [name for name in dict.fromkeys(names) if name not in found]

    async def read() -> None:
        async with process.open_store(config) as opened:
            for name in others:
                try:
                    found[name] = await gather(opened, process.open_blobs(config), name)
                except NotFound:
                    raise NotFound(
                        f"{name!r} is neither a file nor a run of {opened.url}."
                    ) from None

    if others:
        asyncio.run(read())
    return [found[name] for name in names]


def _file(name: str) -> Export:
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}.") from None
    return load(data, name)
