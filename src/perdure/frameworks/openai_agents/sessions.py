"""Sessions of the Agents SDK in a run: what is read and written is in the journal, so that a replay
sees the conversation as it was and appends nothing twice.

Reading is a step that ``reads``. Appending is a ``once``: intent first; after a crash in the middle
the session's end says whether it happened. The user's session object is not changed, and the SDK is
handed a :class:`RecordedSession` in its place.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind, Promise
from perdure.errors import NotDone
from perdure.runtime.call import ByAnnotation, Call
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform
from perdure.runtime.place import Place

WRITE = timedelta(seconds=30)  # how long an append may take; also how long a cut one is in doubt


class RecordedSession:
    """``session`` with its reads and writes recorded in the run of who calls them."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # The SDK treats some kinds of session in ways of their own.
        return type(self._session)

    async def get_items(self, limit: int | None = None, **more: Any) -> list[Any]:
        """The conversation, as it was when this was first asked."""
        given = {} if limit is None else {"limit": limit}
        return cast("list[Any]", await self._step("get_items", Promise.READS, given, more))

    async def add_items(self, items: list[Any], **more: Any) -> None:
        """Append, once."""
        if items:
            await self._step("add_items", Promise.ONCE, {"items": items}, more)

    async def pop_item(self, **more: Any) -> Any:
        """Take the last item off. Asked about when a crash cut it."""
        return await self._step("pop_item", Promise.ONCE, {}, more)

    async def clear_session(self, **more: Any) -> None:
        """Forget everything; doing so again changes nothing."""
        await self._step("clear_session", Promise.IDEMPOTENT, {}, more)

    async def _step(
        self, method: str, promise: Promise, given: dict[str, Any], more: dict[str, Any]
    ) -> Any:
        real = getattr(self._session, method)
        if (place := current_boundary.get()) is None:
            return await real(**given, **more)

        async def body() -> Any:
            if promise is not Promise.ONCE:
                return await real(**given, **more)
            try:
                return await real(**given, **more)
            except Exception as error:
                if method == "add_items" and not await self._ends_with(given["items"]):
                    raise NotDone(f"{type(error).__name__}: {error}") from error
                raise

        async def appended() -> None:
            if not await self._ends_with(given["items"]):
                raise NotDone("The session does not end with these items.")

        name = f"session.{method}"
        declared = Declared(
            Kind.STEP,
            name,
            promise,
            timeout=WRITE if promise is Promise.ONCE else None,
            reconcile=appended if method == "add_items" else None,
        )
        content = digest(canonical([self._session.session_id, given]))
        values = ByAnnotation(None, name)
        return await perform(cast("Place", place), Call(declared, body, (), {}, values, content))

    async def _ends_with(self, items: list[Any]) -> bool:
        found = await self._session.get_items(limit=len(items))
        return len(found) == len(items) and all(map(_same, items, found))


def recorded(session: Any) -> Any:
    """``session`` for use in a run."""
    if session is None or issubclass(type(session), RecordedSession):
        return session
    if callable(getattr(session, "run_compaction", None)):
        return CompactingSession(session)
    return RecordedSession(session)


class CompactingSession(RecordedSession):
    """A session that sums itself up now and then: that is a step, too."""

    async def run_compaction(self, args: Any = None, **more: Any) -> None:
        """Sum up. Runs again where a crash cut it."""
        given = {} if args is None else {"args": args}
        await self._step("run_compaction", Promise.UNDECLARED, given, more)


def _same(sent: Any, kept: Any) -> bool:
    """Whether ``kept`` is what was sent; a service may have added to it (ids, a status)."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        return all(key in kept and _same(value, kept[key]) for key, value in sent.items())
    if isinstance(sent, list) and isinstance(kept, list):
        return len(sent) == len(kept) and all(map(_same, sent, kept))
    return bool(sent == kept)
