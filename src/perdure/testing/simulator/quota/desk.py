"""A call's way past the provider's desk: counted in, let in or refused, charged, billed, seen off.

Books, meters and prompt cache belong together here. Not locked: its owner does that. A visit keeps
the books and the meters that it began with, so a reset in the middle forgets all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perdure.testing.simulator.ledger import Row, Status
from perdure.testing.simulator.quota.books import Accounting, Books
from perdure.testing.simulator.quota.limit import Quota
from perdure.testing.simulator.quota.prompt_cache import PromptCache
from perdure.testing.simulator.quota.turnstile import (
    Caller,
    Level,
    Limited,
    Need,
    Ticket,
    Turnstile,
)  # fmt: skip

__all__ = ["Desk", "Visit"]


@dataclass(slots=True)
class Visit:
    """One call, as the desk sees it."""

    caller: Caller
    row: Row
    books: Books
    turnstile: Turnstile
    ticket: Ticket | None = None
    levels: Mapping[str, Level] = field(default_factory=dict)
    begun: bool = False
    over: bool = False


class Desk:
    """Books, meters and prompt cache. ``cache`` None: nothing is cached."""

    def __init__(
        self, quotas: Iterable[Quota] = (), cache: PromptCache | None = None, *, now: float = 0.0
    ) -> None:
        self._turnstile = Turnstile(quotas)
        self._books = Books(now)
        self._cache = cache

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """The quotas in force."""
        return self._turnstile.quotas

    def reset(self, quotas: Iterable[Quota] | None, now: float) -> None:
        """Fresh books and empty meters; None keeps the quotas."""
        self._turnstile = Turnstile(self.quotas if quotas is None else quotas)
        self._books = Books(now)

    def arrive(self, caller: Caller, row: Row, now: float) -> Visit:
        """Counts a call in."""
        self._books.of(caller, now).requests += 1
        return Visit(caller, row, self._books, self._turnstile)

    def admit(
        self, visit: Visit, body: Mapping[str, Any], ceiling: int | None, now: float
    ) -> Limited | None:
        """Lets a call in (None), with what it reads from the cache noted in its row, or not."""
        row = visit.row
        entries: list[bytes] = []
        if self._cache is not None:
            who = f"{visit.caller.target}:{visit.caller.key}"
            read, written, entries = self._cache.look(row.format, who, body, now)
            row.cache_read = min(read, row.input_tokens)
            row.cache_write = min(written, row.input_tokens - row.cache_read)
        outcome = visit.turnstile.enter(
            visit.caller, Need(row.input_tokens, row.cache_read, ceiling), now
        )
        visit.levels = visit.turnstile.levels(visit.caller, now)
        if isinstance(outcome, Limited):
            row.cache_read = row.cache_write = 0
            row.limited = outcome.limit.name
            return outcome
        visit.ticket = outcome
        if self._cache is not None:
            self._cache.keep(entries, now)
        return None

    def fail(self, visit: Visit, now: float) -> None:
        """A call that fails without an answer, before or after it was let in."""
        if visit.ticket is None:
            visit.turnstile.fail_early(visit.caller, now)
        else:
            visit.turnstile.fail(visit.ticket, visit.caller, now)
            visit.ticket = None
        visit.levels = visit.turnstile.levels(visit.caller, now)

    def correct(self, visit: Visit, now: float) -> None:
        """The row's input is final."""
        if visit.ticket is not None:
            row = visit.row
            visit.turnstile.correct(visit.ticket, Need(row.input_tokens, row.cache_read), now)

    def begin(self, visit: Visit, now: float) -> None:
        """Production begins: the input is billed."""
        if visit.begun or visit.over:
            return
        visit.begun = True
        row = visit.row
        row.billed_input = row.input_tokens
        tally = visit.books.of(visit.caller, now)
        tally.input += row.input_tokens
        tally.cache_read += row.cache_read
        tally.cache_write += row.cache_write

    def produce(self, visit: Visit, total: int, now: float) -> None:
        """So much output there is by now, in all."""
        tokens = total - visit.row.billed_output
        if tokens <= 0 or visit.over:
            return
        visit.row.billed_output = total
        visit.books.of(visit.caller, now).output += tokens
        visit.turnstile.produce(visit.caller, tokens, now)

    def leave(self, visit: Visit, status: Status, now: float) -> None:
        """The call is over. Only the first time counts."""
        if visit.over:
            return
        visit.over = True
        tally = visit.books.of(visit.caller, now)
        limited = status == "refused" and visit.row.http_status == 429
        name = "limited" if limited else status
        setattr(tally, name, getattr(tally, name) + 1)
        if visit.ticket is not None:
            visit.turnstile.leave(visit.ticket, visit.row.billed_output, now)

    def accounting(self, since: float | None, until: float | None, now: float) -> Accounting:
        """The books; the whole time where no other is asked for."""
        return self._books.accounting(
            self._turnstile.meters.values(),
            self._books.opened if since is None else since, now if until is None else until,
        )  # fmt: skip
