"""What a test does with a simulator, served or in memory: look at the ledger, set faults, hold
answers, wait for calls. Safe from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from perdure.errors import PerdureError
from perdure.testing.simulator.faults import Fault, FaultPlan, Match
from perdure.testing.simulator.ledger import Counts, DigestCount, Row
from perdure.testing.simulator.quota.books import Accounting
from perdure.testing.simulator.quota.limit import Quota
from perdure.testing.simulator.simulation import Simulation

__all__ = ["SimulatorTimeout", "Steering"]


class SimulatorTimeout(PerdureError, TimeoutError):
    """The calls that were waited for did not come in time; the message has the counts."""

    code, status = "simulator_timeout", 504


class Steering:
    """The public methods of a simulator, over its ``simulation``."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    def counts(self) -> Counts:
        """Totals, and in ``repeated`` what was paid twice."""
        return self.simulation.counts()

    def count(self, digest: str) -> DigestCount:
        """How often one question was asked and answered (see ``digest_of``)."""
        return self.simulation.count(digest)

    def digests(self) -> dict[str, DigestCount]:
        """The counts of every question."""
        return self.simulation.digests()

    def calls(self, *, after: int = 0, limit: int | None = None) -> list[Row]:
        """The ledger's rows with ``n`` above ``after``, oldest first."""
        return self.simulation.calls(after=after, limit=limit)

    def set_faults(self, faults: Iterable[Fault] | FaultPlan, *, target: str | None = None) -> None:
        """Replaces the fault plan, or its rules for one target alone; new rules start unused."""
        self.simulation.set_faults(faults, target=target)

    def set_limits(self, limits: Iterable[Quota]) -> None:
        """Replaces the limits; meters and accounting begin anew."""
        self.simulation.set_limits(limits)

    def limits(self) -> tuple[Quota, ...]:
        """The limits in force."""
        return self.simulation.limits()

    def accounting(self, since: float | None = None, until: float | None = None) -> Accounting:
        """The provider's own books: what it bills by key, model, target and minute, and how full
        its meters were from ``since`` to ``until`` (epoch seconds; the whole time by default)."""
        return self.simulation.accounting(since, until)

    def reset(self) -> None:
        """Forgets ledger, accounting, faults and stored responses; empties the meters; lets go
        what is held."""
        self.simulation.reset()

    def hold(self, match: Match | None = None, *, after_chunks: int = 0) -> None:
        """Holds matching answers from now on, before the first byte or after so many events."""
        self.simulation.hold(match, after_chunks=after_chunks)

    def release(self, count: int | None = None) -> int:
        """Lets the oldest ``count`` go and keeps holding; None: lets all go and stops holding.
        Returns how many went."""
        return self.simulation.release(count)

    async def wait(
        self, *, started: int = 0, finished: int = 0, answered: int = 0, held: int = 0,
        timeout: float = 30.0,
    ) -> Counts:  # fmt: skip
        """Waits until all counts are reached; ``timeout`` in seconds. Raises SimulatorTimeout."""
        future = self.simulation.expect(
            started=started, finished=finished, answered=answered, held=held
        )
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._late() from None

    def wait_sync(
        self, *, started: int = 0, finished: int = 0, answered: int = 0, held: int = 0,
        timeout: float = 30.0,
    ) -> Counts:  # fmt: skip
        """``wait`` for threads without an event loop."""
        future = self.simulation.expect(
            started=started, finished=finished, answered=answered, held=held
        )
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise self._late() from None

    def _late(self) -> SimulatorTimeout:
        counts = self.counts().to_dict()
        return SimulatorTimeout(f"The calls waited for did not come: {counts}", counts=counts)
