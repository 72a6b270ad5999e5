"""Which headers go through, each way.

Upstream goes what the provider's API knows: everything but what belongs to the connection
(RFC 9110, 7.6.1), to us, or to the caller's own surroundings. Credentials are set anew.

Back comes what an answer keeps everywhere in Perdure (``gateway.answer.HEADERS``): the content's
type, the provider's request id, when to come again. Rate limits are left out: they describe one
credential of one target, which all callers share, and a client that adapts to them would be misled
whenever the next call goes elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure.errors import TooLarge
from perdure.gateway.outgoing import CREDENTIALS

_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_OURS = frozenset({"host", "content-length", "expect", "accept-encoding"})
_SURROUNDINGS = frozenset({"cookie", "forwarded", "origin", "referer", "via"})
_DROPPED = _HOP | _OURS | _SURROUNDINGS
_PREFIXES = ("perdure-", "sec-", "x-forwarded-")
# What httpx2 decodes without more libraries.
ENCODINGS = "gzip, deflate"


def read(raw: Iterable[tuple[bytes, bytes]], most: int) -> dict[str, str]:
    """A request's headers by lower-case name; of several the last. Raises TooLarge."""
    pairs = list(raw)
    if len(pairs) > most:
        raise TooLarge(
            f"The request has {len(pairs)} headers; the limit is {most}.",
            hint="Settings: proxy.max_headers.",
            limit=most,
        )
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


def upstream(
    headers: Mapping[str, str], credential: tuple[str, str] | None, *, own: bool
) -> dict[str, str]:
    """Those to send to the provider. ``credential`` takes the place of whatever the caller brings;
    without one the caller's is sent if it is his ``own``."""
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    keep = own and credential is None
    out = {
        name: value
        for name, value in headers.items()
        if name not in _DROPPED
        and name not in named
        and not name.startswith(_PREFIXES)
        and (keep or name not in CREDENTIALS)
    }
    out["accept-encoding"] = ENCODINGS
    if credential is not None:
        out[credential[0]] = credential[1]
    return out
