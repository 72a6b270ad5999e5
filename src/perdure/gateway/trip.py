"""A model call's way through limits, budgets and targets, as whoever sends it sees it.

:class:`~perdure.gateway.exchange.Exchange` sends and reads; a trip says where to, when, and what
follows from how it went. Its coroutines run on the worker's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from perdure.core.ports import About, Ticket
from perdure.core.retry import Severity
from perdure.gateway.answer import Answer
from perdure.gateway.formats import Format, Question
from perdure.gateway.outgoing import Outgoing


class Call(NamedTuple):
    """A model call, as it leaves the SDK. The names of ``headers`` are in lower case;
    ``credential`` is the label of what they carry, where it has one; ``metered``: see
    ``Passage``."""

    provider: str
    wire: Format
    host: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    credential: str = ""
    metered: bool = True


class Go(NamedTuple):
    """It may be sent now, as ``outgoing`` or (None) as the SDK asked. ``expired`` says whether so
    much time has passed since that the trip has to be asked again. ``renew``, where times are so
    short that a connection may take too long: asks again with the connection at hand; False: not
    now."""

    outgoing: Outgoing | None = None
    expired: Callable[[], bool] = lambda: False
    renew: Callable[[], Coroutine[Any, Any, bool]] | None = None


class Rest(NamedTuple):
    """It has to wait for so long that the run need not stay warm. ``note``: what whoever goes on
    with it should know (codec bytes), such as since when it waits."""

    until: datetime
    detail: str
    note: bytes


class Ended(NamedTuple):
    """How one try ended: with an ``answer``, which for a broken stream is what had arrived, or with
    one that was made up because nobody answered (``reached`` False). ``void``: the SDK has some of
    it already. ``headers`` are the provider's own, all of them."""

    answer: Answer
    headers: Mapping[str, str]
    severity: Severity | None  # None: it is what was asked for
    what: str = ""
    retry_after: timedelta | None = None
    reached: bool = True
    void: bool = False
    first: float | None = None  # seconds until its first piece
    took: float = 0.0


class Next(NamedTuple):
    """What follows a failed try: ``again_in`` seconds the next one; None: it is the answer."""

    again_in: float | None
    detail: str = ""


class Trip(Protocol):
    """One call. ``local``: its coroutines wait for nothing and may run anywhere. Each ``go`` that
    is answered with Go is followed by one ``over`` or ``unsent``; ``leave`` or ``abandoned`` ends
    the trip."""

    @property
    def local(self) -> bool: ...

    @property
    def hides_usage(self) -> bool:
        """Whether a stream's usage was asked for by us alone."""

    async def go(self) -> Go | Rest | Answer:
        """Where to send it next, when that may be; or an answer that takes the provider's place (a
        refusal, or one from the cache)."""

    def produced(self, text: str) -> None:
        """A stream goes on. From any thread."""

    async def over(self, ended: Ended) -> Next:
        """What is made of a try that went out: entered in the ledger, given back to the limits."""

    async def unsent(self) -> None:
        """What was let go was not sent after all."""

    async def leave(self) -> None:
        """It is answered."""

    def abandoned(self) -> None:
        """The agent turned away; what is in flight has an unknown outcome. From any thread."""

    def note(self) -> bytes | None:
        """For a stream that broke after its first piece: what the next attempt should know, if
        the call is to be made again from the start; None: the SDK is to see it broken."""


class Trips(Protocol):
    """Where trips begin: of one worker."""

    def begin(self, call: Call, asked: Question, ticket: Ticket, about: About) -> Trip:
        """A trip for a call that is to go out."""

    def replayed(self, call: Call, asked: Question, answer: Answer, about: About) -> None:
        """A call was answered from the journal."""
