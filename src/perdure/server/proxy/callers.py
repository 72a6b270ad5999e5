"""Who calls, and for whom: a key of the proxy, a run's token, or, where there are no keys, anyone
on this machine. Headers say the rest:

    Perdure-Run, Perdure-Run-Token     the run, and what proves that the caller is its
    Perdure-Effect                     the step or tool of it (hex), where there is no token
    Perdure-Feature, -Step, -Difficulty, -Session
    Perdure-Agent, Perdure-Tenant      where the key does not say so itself
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from starlette.types import Scope

from perdure.core.labels import MAX_LENGTH
from perdure.core.passes import PREFIX, Pass, read
from perdure.core.ports import About
from perdure.core.run import RunState
from perdure.errors import Conflict, Forbidden, InvalidInput
from perdure.server import keys
from perdure.server.auth import Access, presented
from perdure.server.grants import GATEWAY, Grant
from perdure.store.base import Store

ANYONE = "proxy"  # the agent that calls count as where nobody says another
_LABELS = ("agent", "tenant", "session", "feature", "step", "difficulty")
_grant = lru_cache(maxsize=1024)(Grant.read)


@dataclass(frozen=True, slots=True)
class Caller:
    """``passed``: the run it belongs to. ``own``: it may bring a credential of the provider's."""

    about: About
    grant: Grant
    passed: Pass | None = None
    own: bool = False


class Callers:
    """``now`` is the store's clock."""

    def __init__(
        self, access: Access, store: Store, secret: bytes, now: Callable[[], datetime]
    ) -> None:
        self._access = access
        self._store = store
        self._secret = secret
        self._now = now

    async def identify(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """Raises Unauthorized, Forbidden, InvalidInput, NotFound, Conflict, StoreUnavailable."""
        said = _said(headers)
        token = headers.get("perdure-run-token") or presented(scope["headers"]) or ""
        if token.startswith(PREFIX):
            passed = read(self._secret, token, self._now().timestamp())
            if headers.get("perdure-run", passed.run_id) != passed.run_id:
                raise Forbidden("The run token is another run's.", run_id=passed.run_id)
            return _of_run(passed, Grant(), said)
        found = await self._access.admit(scope, GATEWAY)
        grant = _grant(found.scopes, found.key or "")
        if (run_id := headers.get("perdure-run")) is not None:
            if found.key is not None and not keys.covers(found.scopes, keys.WRITE):
                raise Forbidden(
                    f"The key {found.name!r} does not speak for runs.",
                    hint="Send the token that the run's worker made (PERDURE_RUN_TOKEN), or use a "
                    f"key that also has the scope {keys.WRITE}.",
                )
            passed = await self._run(run_id, grant, headers.get("perdure-effect", ""))
            return _of_run(passed, grant, said)
        for name, own in (("agent", grant.agent), ("tenant", grant.tenant)):
            if own and said.get(name, own) != own:
                raise Forbidden(f"The key {found.name!r} is of {name} {own!r} alone.")
        about = About(
            agent=grant.agent or said.get("agent", "") or ANYONE,
            tenant=grant.tenant or said.get("tenant", ""),
            session=said.get("session", ""),
            step=said.get("step", ""),
            feature=said.get("feature", ""),
            difficulty=said.get("difficulty", ""),
            budget=grant.budget,
        )
        return Caller(about, grant, own=found.key is None)

    async def _run(self, run_id: str, grant: Grant, effect: str) -> Pass:
        """A run that the caller may speak for by its name alone."""
        run = await self._store.get(run_id, payloads=False)
        if grant.tenant and run.tenant != grant.tenant:
            raise Forbidden(f"The run {run_id} is not of tenant {grant.tenant!r}.")
        if run.state is not RunState.RUNNING:
            raise Conflict(f"The run {run_id} is {run.state}, so it calls nothing.")
        try:
            scope = bytes.fromhex(effect)
        except ValueError:
            raise InvalidInput(f"Perdure-Effect: {effect!r} is no effect's key.") from None
        return Pass(
            run_id,
            run.epoch,
            scope,
            run.agent,
            run.tenant,
            run.session or "",
            "",
            run.labels.get("feature", ""),
            run.labels.get("difficulty", ""),
            run.priority,
            None if run.deadline_at is None else run.deadline_at.timestamp(),
        )


def _of_run(passed: Pass, grant: Grant, said: Mapping[str, str]) -> Caller:
    """Whose run it is says the run; what a call is for may the caller."""
    deadline = None if passed.deadline is None else datetime.fromtimestamp(passed.deadline, UTC)
    about = About(
        passed.run_id,
        passed.agent,
        passed.tenant,
        passed.session,
        said.get("step", passed.step),
        said.get("feature", passed.feature),
        said.get("difficulty", passed.difficulty),
        passed.priority,
        deadline,
        grant.budget,
    )
    return Caller(about, grant, passed)


def _said(headers: Mapping[str, str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for name in _LABELS:
        value = headers.get(f"perdure-{name}")
        if value:
            if len(value) > MAX_LENGTH:
                raise InvalidInput(f"Perdure-{name.title()} is over {MAX_LENGTH} characters.")
            said[name] = value
    return said
