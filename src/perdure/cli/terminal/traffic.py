"""A line for each request and each attempt, as they end: what ``perdure dev`` shows."""

from __future__ import annotations

from time import perf_counter

from rich.text import Text

from perdure.cli.terminal.output import stderr
from perdure.cli.terminal.states import STYLES
from perdure.cli.terminal.times import short_seconds
from perdure.observe.metrics import Traffic
from perdure.runtime.attempt import Attempt
from perdure.runtime.execution import Ended
from perdure.runtime.worker import Worker
from perdure.server import console

# What load balancers, dashboards and the page for browsers ask all the time.
SILENT = frozenset(
    {"/healthz", "/readyz", "/metrics", "/scale", "/api/agents", "/api/agents/{agent}", "/api/runs",
     "/api/runs/{id}", "/api/runs/{id}/events", *console.PATHS}
)  # fmt: skip


class PrintedTraffic(Traffic):
    """Requests, counted as ever, and printed."""

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        super().answered(method, route, status, seconds)
        if method == "GET" and route in SILENT and status < 400:
            return
        style = "green" if status < 400 else "yellow" if status < 500 else "red"
        text = Text("  http ", style="dim").append(f"{status} ", style=style)
        # Paths that lead nowhere are counted together, so that nobody's typing makes metrics.
        text.append(f"{method} {'a path that is no route' if route == 'none' else route}").append(
            f"  {short_seconds(seconds)}", style="dim"
        )
        stderr().print(text, soft_wrap=True)


def print_attempts(worker: Worker) -> None:
    """From now on, a line for each attempt that begins or ends."""
    began: dict[str, float] = {}

    def begin(attempt: Attempt) -> None:
        began[attempt.run_id] = perf_counter()
        how = "goes on" if attempt.lease.next_seq > 1 else "running"
        stderr().print(_line(attempt, how, STYLES["running"]), soft_wrap=True)

    def end(attempt: Attempt, ended: Ended | None) -> None:
        took = perf_counter() - began.pop(attempt.run_id, perf_counter())
        state = "lost" if ended is None else ended.state.value
        text = _line(attempt, state, STYLES.get(state, ""))
        text.append(f"  {short_seconds(took)}", style="dim")
        for wait in attempt.closing.waits if state == "waiting" else ():
            text.append(f"  for {wait.reason} {wait.name or ''}".rstrip(), style="dim")
        stderr().print(text, soft_wrap=True)

    worker.on_begin, worker.on_end = begin, end


def _line(attempt: Attempt, state: str, style: str) -> Text:
    text = Text("  run  ", style="dim").append(attempt.run_id, style="dim")
    return text.append(f" {attempt.agent_name} ").append(state, style=style)
