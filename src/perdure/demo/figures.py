"""The demo's figures: what the meter, the tools' logs and the journal say, side by side.

"Paid twice" is counted by request: how many answers the provider gave to it, less the one that
was in flight at the kill, less those that were needed. On Perdure's side needed means: an entry
of the journal each; so a call that was journaled and sent again shows, whatever else happened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from perdure.core.words import counted
from perdure.demo.durable import DurableSide
from perdure.demo.plain import PlainSide
from perdure.demo.side import PROMISED_S, Side

HOPELESS_S = 5.0  # slower than this, the death was not noticed but waited out


@dataclass(frozen=True, slots=True)
class Column:
    """One side. ``seconds_to_next_step``: from the kill until the call it happened in is sent
    again. ``unjournaled``: calls that the journal knows nothing of (None without a journal).
    ``cost`` is in US dollars, None where no price is known."""

    calls_sent: int
    calls_finished: int
    resent_in_flight: int
    paid_twice: int
    unjournaled: int | None
    tool_calls: int
    tool_calls_repeated: int
    seconds_to_next_step: float | None
    seconds: float
    input_tokens: int
    output_tokens: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Both columns and what they were measured on."""

    provider: str
    model: str
    documents: int
    calls_needed: int
    kill_at: int
    run_id: str
    same_report: bool | None
    plain: Column
    perdure: Column
    broken: tuple[str, ...]
    slow: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def measure(plain: PlainSide, durable: DurableSide) -> Figures:
    """Read both sides after their end."""
    scene = plain.scene
    journal = Counter(durable.journaled())
    columns = (
        _column(plain, None, plain.resumed_after),
        _column(durable, journal, durable.resumed_after),
    )
    # A real model words the same thing anew each time; the simulated one does not.
    same = plain.report == durable.report if scene.provider.kind == "simulated" else None
    after = columns[1].seconds_to_next_step
    return Figures(
        provider=scene.provider.kind,
        model=scene.provider.model,
        documents=scene.documents,
        calls_needed=scene.calls,
        kill_at=scene.kill_at,
        run_id=durable.run_id,
        same_report=same,
        plain=columns[0],
        perdure=columns[1],
        broken=tuple(_broken(columns[1], scene.calls, same, durable)),
        slow=after is not None and after > PROMISED_S,
    )


def _column(side: Side, journal: Counter[str] | None, after: float | None) -> Column:
    calls = side.meter.calls
    paid = Counter(call.digest for call in calls if call.paid)
    cut = Counter(call.digest for call in calls if call.paid and call.cut)
    needed = journal if journal is not None else Counter(dict.fromkeys(paid, 1))
    delivered = Counter(call.digest for call in calls if call.delivered)
    again = {call.digest for call in calls if not call.cut}
    tools = side.tools()
    tokens = sum(call.input_tokens for call in calls), sum(call.output_tokens for call in calls)
    price = side.scene.provider.price
    return Column(
        calls_sent=len(calls),
        calls_finished=delivered.total(),
        resent_in_flight=sum(call.cut and call.digest in again for call in calls),
        paid_twice=sum(
            max(0, paid[d] - cut[d] - needed[d]) for d in paid if journal is None or d in journal
        ),
        unjournaled=None if journal is None else (delivered - journal).total(),
        tool_calls=tools.total(),
        tool_calls_repeated=sum(count - 1 for count in tools.values()),
        seconds_to_next_step=None if after is None else round(after, 3),
        seconds=round((side.ended or side.started) - side.started, 1),
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cost=None if price is None else round(price.of(*tokens), 6),
    )  # fmt: skip


def _broken(column: Column, needed: int, same: bool | None, side: DurableSide) -> list[str]:
    """Which promises did not hold, in words."""
    found = []
    if side.killed_at is None:
        found.append("the fatal call never came, so nothing was killed")
    if column.paid_twice:
        found.append(
            counted(column.paid_twice, "journaled model call was", "journaled model calls were")
            + " paid twice"
        )
    if column.unjournaled:
        found.append(
            f"{counted(column.unjournaled, 'model call is', 'model calls are')} not in the journal"
        )
    if column.resent_in_flight > 1:
        found.append(f"{column.resent_in_flight} calls were sent again; one was in flight")
    if column.calls_finished != needed:
        found.append(f"{counted(column.calls_finished, 'model call')} finished, not {needed}")
    if column.tool_calls_repeated:
        found.append(
            counted(
                column.tool_calls_repeated, "completed tool call was", "completed tool calls were"
            )
            + " repeated"
        )
    if column.seconds_to_next_step is None or column.seconds_to_next_step > HOPELESS_S:
        found.append(f"the other worker took {column.seconds_to_next_step} s to go on")
    if same is False:
        found.append("the report differs from that of a run that was not resumed")
    return found
