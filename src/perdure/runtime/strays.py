"""Model calls that belong to no run (rule T3): counted, told of once, refused in strict mode."""

from __future__ import annotations

import logging

from perdure.errors import BoundaryError
from perdure.runtime.runtime import Runtime

log = logging.getLogger("perdure.gateway")

METRIC = "perdure_stray_model_calls_total"


class Strays:
    """Implements ``core.ports.Calls`` for one worker."""

    def __init__(self, runtime: Runtime, *, strict: bool) -> None:
        self._runtime = runtime
        self._strict = strict
        self._told: set[str] = set()

    def stray(self, host: str) -> None:
        self._runtime.count(METRIC, host=host)
        if self._strict:
            raise BoundaryError(
                f"A model call to {host} belongs to no run, and gateway.strict refuses such calls.",
                hint="Make it in the agent's own tasks and threads: run_in_executor and background "
                "tasks lose the context; asyncio.to_thread keeps it.",
            )
        if host not in self._told:
            self._told.add(host)
            log.warning(
                "A model call to %s belongs to no run: it is not recorded. Context is lost through "
                "run_in_executor and background tasks; asyncio.to_thread keeps it.",
                host,
            )
