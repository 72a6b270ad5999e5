"""Which effects of an attempt are in flight (rules C1, C3).

An effect is in flight from its ticket until it is recorded, but not while it waits (a sleep, a
signal), nor while its body waits at a boundary inside it: a tool in which someone must approve, or
whose own model call may not start any more, does not keep an attempt from parking. Such a tool is
*resting*: when its attempt is unwound it is put down, as if it had not been asked for, and the next
attempt finds what was recorded inside it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.runtime.ticket import Live


class Flight:
    """The open tickets of one attempt, by what they are doing."""

    def __init__(self) -> None:
        self._flying: set[Live] = set()
        self._resting: set[Live] = set()
        self._landed: asyncio.Future[None] | None = None  # while somebody waits for it

    def __len__(self) -> int:
        return len(self._flying)

    def begin(self, ticket: Live) -> None:
        self._flying.add(ticket)

    def end(self, ticket: Live) -> None:
        """It is closed."""
        if ticket.waits:
            ticket.waits = False
            self._stir(ticket.around)
        self._flying.discard(ticket)
        self._resting.discard(ticket)
        self._tell()

    def suspend(self, ticket: Live) -> None:
        """It waits for something outside."""
        ticket.waits = True
        self._flying.discard(ticket)
        self.rest(ticket.around)

    def resume(self, ticket: Live) -> None:
        """What it waited for came."""
        ticket.waits = False
        self.begin(ticket)
        self._stir(ticket.around)

    def rest(self, effect: Live | None) -> None:
        """Code in the body of ``effect`` waits at a boundary, and with it whatever is around."""
        while effect is not None:
            effect.resting += 1
            if effect.resting > 1:
                break
            self._flying.discard(effect)
            self._resting.add(effect)
            effect = effect.around
        self._tell()

    def _stir(self, effect: Live | None) -> None:
        while effect is not None:
            effect.resting -= 1
            if effect.resting > 0:
                return
            if effect in self._resting:  # and not closed meanwhile
                self._resting.discard(effect)
                self.begin(effect)
            effect = effect.around

    def _tell(self) -> None:
        if self._landed is not None and not self._flying:
            landed, self._landed = self._landed, None
            landed.set_result(None)

    async def over(self) -> None:
        """Wait until nothing is in flight."""
        if self._flying:
            if self._landed is None:
                self._landed = asyncio.get_running_loop().create_future()
            # Shielded: whoever else waits for it goes on doing so.
            await asyncio.shield(self._landed)

    def resting(self) -> list[Live]:
        """Effects whose bodies wait at a boundary inside them."""
        return list(self._resting)
