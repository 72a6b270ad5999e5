"""An executor that asks a person. Older versions of Agent Framework read annotations of response
handlers as they stand, so they are not put off here."""

from dataclasses import dataclass
from typing import Never

from agent_framework import Executor, WorkflowContext, handler, response_handler

from tests.integration.stage import Tally


@dataclass
class Verdict:
    """What a reviewer says."""

    approved: bool
    comment: str


@dataclass
class Draft:
    """What a reviewer sees."""

    text: str


class Reviewed(Executor):
    """Asks a person about a draft, and keeps state meanwhile."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(id="reviewed")
        self._seen: list[str] = []
        self._tally = tally

    @handler
    async def draft(self, text: str, ctx: WorkflowContext[str]) -> None:
        """Asks."""
        self._seen.append(text)
        self._tally.done.append("draft")
        await ctx.request_info(request_data=Draft(text), response_type=Verdict)

    @response_handler
    async def decided(
        self, original: Draft, verdict: Verdict, ctx: WorkflowContext[Never, str]
    ) -> None:
        """Goes on."""
        await ctx.yield_output(f"{self._seen} {original.text}: {verdict.comment}")
