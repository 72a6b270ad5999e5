"""Run tokens: what a worker hands to a program that a step starts, so that the program's model
calls, made through the proxy, belong to the run.

A token names the run, the attempt (by its epoch) and the effect that started the program, and says
whose budgets, limits and routes count. It is signed with a secret that the workers and proxies of
one store share, so nobody can name a run that he was not given; it ends with the attempt, or
sooner. Pure: the time is an argument.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import NamedTuple

from perdure.errors import Unauthorized

PREFIX = "rt_"
SECRET_KEY = "proxy/secret"  # the shared document that holds the secret
SECRET_BYTES = 32
LONGEST = 4096  # characters of a token


class Pass(NamedTuple):
    """``scope`` is the key of the effect that started the program (b"": the agent itself), times
    are seconds since 1970 by the store's clock. ``requests``: what is asked is kept, too."""

    run_id: str
    epoch: int
    scope: bytes = b""
    agent: str = ""
    tenant: str = ""
    session: str = ""
    step: str = ""
    feature: str = ""
    difficulty: str = ""
    priority: int = 0
    deadline: float | None = None
    requests: bool = False
    expires: float | None = None


def mint(secret: bytes, passed: Pass) -> str:
    """The token for it."""
    fields = passed._replace(scope=passed.scope.hex())  # type: ignore[arg-type]
    body = _encode(json.dumps(fields, separators=(",", ":")).encode())
    return f"{PREFIX}{body}.{_encode(_sign(secret, body))}"


def read(secret: bytes, token: str, now: float) -> Pass:
    """What a token says. Raises Unauthorized for one that was not signed with ``secret``, or whose
    time is over."""
    body, _, signature = token.removeprefix(PREFIX).partition(".")
    if not token.startswith(PREFIX) or len(token) > LONGEST:
        raise Unauthorized("That is no run token.")
    try:
        right = hmac.compare_digest(_decode(signature), _sign(secret, body))
        fields = json.loads(_decode(body)) if right else None
    except ValueError:
        fields = None
    if fields is None:
        raise Unauthorized(
            "The run token is not of this store.",
            hint="The worker that made it and this proxy must have the same store.",
        )
    fields[2] = bytes.fromhex(fields[2])
    passed = Pass(*fields)
    if passed.expires is not None and now >= passed.expires:
        raise Unauthorized("The run token has expired.", run_id=passed.run_id)
    return passed


def _sign(secret: bytes, body: str) -> bytes:
    return hmac.digest(secret, body.encode(), sha256)


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
