"""What a step hands to a program that it starts: where the proxy is, and a token that makes the
program's model calls the run's (see ``perdure.core.passes``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from perdure.core.passes import SECRET_BYTES, SECRET_KEY, Pass, mint
from perdure.core.ports import current_boundary
from perdure.core.shared import Shared, Swap
from perdure.errors import BoundaryError
from perdure.runtime.place import Place

LIFETIME = timedelta(hours=1)


@dataclass(slots=True)
class Proxy:
    """``url``: where programs on this machine reach it. ``secret``: what their tokens are signed
    with, once it is open."""

    url: str
    secret: bytes = b""

    async def open(self, shared: Shared) -> None:
        """Learn the secret. Raises StoreUnavailable."""
        self.secret = await shared_secret(shared)


async def shared_secret(shared: Shared) -> bytes:
    """The secret of a store's workers and proxies; made by whoever needs it first. Raises
    StoreUnavailable."""
    found = (await shared.swap([SECRET_KEY])).documents[SECRET_KEY]
    if not found.body:
        made = os.urandom(SECRET_BYTES)
        swapped = await shared.swap((), [Swap(SECRET_KEY, found.version, made)])
        found = swapped.documents[SECRET_KEY]
    return found.body


def subprocess_env(*, lifetime: timedelta = LIFETIME) -> dict[str, str]:
    """Variables for a program that the calling code starts: its model calls, made through
    ``perdure gateway``, are then journaled and charged as this run's, inside the step or tool that
    started it. Nothing of the program changes, since the SDKs read them:

        env = {**os.environ, **perdure.subprocess_env()}
        await asyncio.create_subprocess_exec("node", "agent.mjs", env=env)

    ``OPENAI_BASE_URL`` and ``ANTHROPIC_BASE_URL`` lead to the proxy, ``OPENAI_API_KEY`` and
    ``ANTHROPIC_API_KEY`` are the run's token, for programs that build their own requests
    ``PERDURE_PROXY_URL``, ``PERDURE_RUN`` and ``PERDURE_RUN_TOKEN`` are the same. The token ends
    with this attempt, and after ``lifetime`` at the latest. Raises BoundaryError outside a run, and
    where no proxy is set (``[proxy] url``).
    """
    place = current_boundary.get()
    if not isinstance(place, Place):
        raise BoundaryError(
            "perdure.subprocess_env was called outside a run.",
            hint="Call it where the program is started: in a step or tool of an agent.",
        )
    attempt = place.attempt
    proxy = attempt.runtime.proxy
    if proxy is None:
        raise BoundaryError(
            "perdure.subprocess_env needs to know where the proxy is.",
            hint='Start `perdure gateway`, and set [proxy] url = "http://127.0.0.1:8090"; '
            "`perdure dev --gateway` does both.",
        )
    token = mint(proxy.secret, _pass(place, lifetime))
    return {
        "ANTHROPIC_API_KEY": token,
        "ANTHROPIC_BASE_URL": proxy.url,
        "OPENAI_API_KEY": token,
        "OPENAI_BASE_URL": f"{proxy.url}/v1",
        "PERDURE_PROXY_URL": proxy.url,
        "PERDURE_RUN": place.run_id,
        "PERDURE_RUN_TOKEN": token,
    }


def _pass(place: Place, lifetime: timedelta) -> Pass:
    attempt, about = place.attempt, place.about
    return Pass(
        place.run_id,
        attempt.lease.epoch,
        place.scope,
        about.agent,
        about.tenant,
        about.session,
        about.step,
        about.feature,
        about.difficulty,
        about.priority,
        None if about.deadline is None else about.deadline.timestamp(),
        attempt.policy.requests,
        (attempt.now() + lifetime).timestamp(),
    )
