"""``GET /api/costs`` and ``GET /api/budgets``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from perdure.core.balances import lines
from perdure.core.budget import PREFIX
from perdure.errors import InvalidInput, UsageError
from perdure.runtime.spending import told
from perdure.server.routes.listing import read_time
from perdure.server.service import Service
from perdure.server.web.answers import Json
from perdure.server.web.choice import single
from perdure.store.costs import CostFilter
from perdure.store.spending import FILTER_NAMES, Report, question, report

MAX_GROUPS = 1000
MAX_BUDGETS = 10_000


class Money:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def costs(self, request: Request) -> Response:
        """Sums of the ledger, grouped."""
        given = single(request, {"by", "since", "until", "limit", *FILTER_NAMES})
        by = [name.strip() for name in given.get("by", "model").split(",") if name.strip()]
        wanted = {name: given[name] for name in FILTER_NAMES if name in given}
        if "run" in wanted:
            wanted["run_id"] = _run(wanted.pop("run"))
        try:
            asked = question(
                by,
                CostFilter(
                    since=read_time(given, "since"),
                    until=read_time(given, "until"),
                    **wanted,  # type: ignore[arg-type]
                ),
            )
        except UsageError as error:
            raise InvalidInput(error.message, hint=error.hint, parameter="by") from None
        limit = _limit(given.get("limit", "100"))
        store = self._service.store
        strange = await told(store, asked.since, asked.until)
        return Json(_document(report(by, await store.costs(asked), limit), strange))

    async def budgets(self, request: Request) -> Response:
        """What each budget has left."""
        single(request, set())
        listed = await self._service.store.listed(PREFIX, MAX_BUDGETS)
        found = lines(self._service.config.budgets, listed.documents, listed.now)
        return Json({"budgets": [line.document() for line in found]})


def _document(made: Report, strange: list[dict[str, Any]]) -> dict[str, Any]:
    total = made.total.document()
    del total["group"]
    return {
        "costs": [row.document() for row in made.rows],
        "total": total,
        "more": made.more,
        "anomalies": strange,
    }


def _run(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise InvalidInput(f"run is the id of a run, not {text!r}.", parameter="run") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6) or not (
        1 <= int(text) <= MAX_GROUPS
    ):
        raise InvalidInput(f"limit is between 1 and {MAX_GROUPS}, not {text!r}.", parameter="limit")
    return int(text)
