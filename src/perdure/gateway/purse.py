"""The money of one call: reserved before it is sent, within every budget that it is charged to.

A call that asks for no bound on its output, or for more than is left, gets one that the money is
enough for; the prompt counts with a token for each byte, which no tokenizer exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from perdure.config import dollars
from perdure.core.budget import Account, Answer, Budget, Crossing, Hold, Spender, Verdict
from perdure.core.period import ends
from perdure.gateway.aside import Aside
from perdure.gateway.pricing import Pricing
from perdure.gateway.request import Request
from perdure.gateway.wallet import Wallet

LEAST_OUTPUT = 16  # tokens; OpenAI's responses refuse to be bound to fewer


class Funded(NamedTuple):
    """There is money. ``hold`` is to be settled; None: nothing had to be reserved. ``bound``: what
    the output has to be bound to, where the request does not say so itself."""

    hold: Hold | None
    bound: int | None = None


class Busy(NamedTuple):
    """Calls under way hold what is left."""

    detail: str


class Broke(NamedTuple):
    """There is not enough, whatever the calls under way cost."""

    detail: str


@dataclass(slots=True)
class Purse:
    """``default_output``: tokens that a call without a bound of its own is bound to, where a hard
    budget needs one."""

    wallet: Wallet
    pricing: Pricing
    default_output: int
    patience: float

    async def fund(
        self,
        spender: Spender,
        provider: str,
        model: str,
        request: Request,
        now: float,
        own: Budget | None = None,
        aside: Aside | None = None,
    ) -> Funded | Busy | Broke:
        """Reserve what a call can cost at most. ``own``: a budget of the caller's. ``aside``: money
        that its run has set aside."""
        charged = await self.wallet.accounts(spender, own)
        if not any(account.budget.hard for account in charged) or request.shape is None:
            return Funded(Hold(charged, 0) if charged else None)
        prompt = len(request.body)
        asked = request.bound or self.default_output * request.choices
        most = self.pricing.bound(provider, model, prompt, asked, now)
        if most is None:
            return Broke(
                f"the price of {provider}/{model} is not known, so that the hard budget "
                f"{charged[0].budget.name!r} cannot be kept: add it to [[prices]]"
            )
        bound = None if request.bound else asked
        verdict = await self.wallet.reserve(charged, most, self.patience, aside)
        if verdict.answer is Answer.SPENT and verdict.left > 0:
            # What is left may be enough for a shorter answer.
            afford = self.pricing.affordable(provider, model, verdict.left, prompt, now)
            if afford is not None and min(afford, asked) >= _least(request):
                bound = min(afford, asked)
                most = self.pricing.bound(provider, model, prompt, bound, now) or verdict.left
                verdict = await self.wallet.reserve(charged, most, self.patience, aside)
        if verdict.hold is not None:
            return Funded(verdict.hold, bound)
        if verdict.answer is Answer.WAIT:
            return Busy(f"calls under way hold what {named(verdict.account)} has left")
        return Broke(_spent(verdict, most, now))


def _least(request: Request) -> int:
    """Fewer tokens of output are of no use. Anthropic's thinking comes out of its own bound."""
    thinking = request.fields.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return LEAST_OUTPUT * request.choices + (budget if isinstance(budget, int) else 0)


def named(account: Account | None) -> str:
    if account is None:
        return "the budget"
    whose = f" of {account.budget.per} {account.subject!r}" if account.subject else ""
    return f"the budget {account.budget.name!r}{whose}"


def _spent(verdict: Verdict, most: int, now: float) -> str:
    account = verdict.account
    if account is None:
        return "the budget is spent"
    until = ends(account.budget.every, now)
    again = ""
    if until is not None:
        again = f"; it begins anew at {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"{named(account)} has {dollars(verdict.left)} of {dollars(account.budget.usd)} left, and "
        f"this call may cost {dollars(most)}{again}"
    )


def said(crossing: Crossing) -> str:
    """A crossing in words."""
    account, soft, spent = crossing
    return (
        f"{named(account)} has crossed {dollars(soft)}: {dollars(spent)} of "
        f"{dollars(account.budget.usd)} are spent"
    )
