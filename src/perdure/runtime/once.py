"""Effects that happen at most once: intent first; exactly once, or ask (rules P1, P3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson

from perdure.codec import encode_failure
from perdure.core import crash
from perdure.core.ports import current_boundary
from perdure.errors import NotDone
from perdure.runtime.call import Call, body_of, once_tries
from perdure.runtime.closing import Ending
from perdure.runtime.place import Place
from perdure.runtime.ticket import Live
from perdure.store.rows import Wait

ONCE_DEADLINE = timedelta(minutes=5)  # of a ``once`` without a timeout of its own (P3)


async def perform_once(live: Live, inner: Place, call: Call) -> Any:
    """Intent first; exactly once, or ask (P1, P3)."""
    attempt, declared = inner.attempt, call.declared
    if live.intended is not None:
        found = await _find_out(live, inner, call)
        if found is not None:
            await live.done(found)
            return call.values.decode(found)
    limit = declared.timeout or ONCE_DEADLINE
    deadline = attempt.now() + limit * (declared.retries.attempts if declared.retries else 1)
    await live.intent(call.asked(deadline=deadline.isoformat()))
    token = current_boundary.set(inner)
    try:
        crash.reach(crash.Point.INSIDE_ONCE)
        data = call.values.encode(await once_tries(call, limit))
    except NotDone as error:
        await live.failed(encode_failure(error))
        raise
    except call.control:
        # What such a body did so far it does again when it is asked again: harmless by contract.
        live.withdrawn()
        raise
    except BaseException as error:
        # It may have happened. Never guess about a sent email: an operator decides.
        live.cut()
        if attempt.closing.cancelling or attempt.closing.ending is Ending.LOST:
            raise
        await _ask(live, inner, f"{declared.name} ended with {type(error).__name__}: {error}")
        raise
    finally:
        current_boundary.reset(token)
    await live.done(data)
    return call.values.decode(data)


async def _find_out(live: Live, inner: Place, call: Call) -> bytes | None:
    """An earlier attempt left an open intent: its result, or None where it did not happen, or
    park for an operator. Not before its deadline, unless that attempt's process is proven to be
    gone (P3)."""
    attempt, name = inner.attempt, call.name
    deadline = datetime.fromisoformat(orjson.loads(live.intended_value)["deadline"])
    if not attempt.lease.gone and deadline > attempt.now():
        await _ask(live, inner, f"{name}: its process may be alive", until=deadline)
    reconcile = call.declared.reconcile
    if reconcile is None:
        await _ask(live, inner, f"{name}: a crash cut it and it has no reconcile=")
        return None
    token = current_boundary.set(inner)
    try:
        return call.values.encode(await body_of(reconcile, call.args, call.kwargs))
    except NotDone:
        return None
    except Exception as error:
        await _ask(live, inner, f"{name}: reconcile failed: {error!r}")
        raise
    finally:
        current_boundary.reset(token)


async def _ask(live: Live, inner: Place, detail: str, *, until: datetime | None = None) -> None:
    """Park until an operator says what happened. Does not return."""
    live.cut()
    wait = Wait("uncertain", key=live.key.hex(), detail=detail[:1000], until=until)
    inner.attempt.closing.close(Ending.PARK, waits=(wait,))
    await inner.attempt.block(False, inner)
