"""Being told by the database: one connection that listens, and who wants to hear what.

What is told goes out with its transaction. Hints are lost with the connection: after it came
back everyone is told that anything may have happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from perdure.errors import PerdureError
from perdure.store.postgres.address import Address
from perdure.store.postgres.link import Clock, Link

log = logging.getLogger("perdure.store")

Callback = Callable[[str], None]
CHANNEL = "perdure"


class Wakes:
    """See the module. All of it is on the event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._listeners: dict[str, list[Callback]] = {}
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()

    async def open(self) -> None:
        """Begin to listen. Raises StoreUnavailable, ConfigError."""
        # Its clock tells nothing about whether workers could be heard.
        self._link = Link(self._address, Clock(), prepared=self._listen)
        self._broken = asyncio.Event()
        await self._link.connect()
        self._task = asyncio.get_running_loop().create_task(
            self._keep(self._link), name="perdure-postgres-listen"
        )

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def listen(self, topic: str, callback: Callback) -> Callable[[], None]:
        """See ``Store.listen``."""
        self._listeners.setdefault(topic, []).append(callback)

        def undo() -> None:
            callbacks = self._listeners.get(topic, [])
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks:
                self._listeners.pop(topic, None)

        return undo

    async def _listen(self, connection: Any) -> None:
        connection.add_termination_listener(lambda _: self._broken.set())
        await connection.add_listener(CHANNEL, self._told)

    async def _keep(self, link: Link) -> None:
        while True:
            await self._broken.wait()
            self._broken.clear()
            while not link.connected:
                try:
                    await link.connect()
                except PerdureError as error:
                    log.debug("Cannot listen: %s", error)
            self._tell_all()

    def _told(self, _connection: Any, _pid: int, _channel: str, message: str) -> None:
        topic, _, payload = message.partition("|")
        loop = asyncio.get_running_loop()
        for callback in self._listeners.get(topic, ()):
            loop.call_soon(callback, payload)

    def _tell_all(self) -> None:
        loop = asyncio.get_running_loop()
        for callbacks in self._listeners.values():
            for callback in callbacks:
                loop.call_soon(callback, "*")
