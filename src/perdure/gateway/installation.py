"""Putting capture under every HTTP library that is installed here, and taking it out again."""

from __future__ import annotations

from importlib.util import find_spec

from perdure.gateway import httpx2_transport
from perdure.gateway.capture import Capture
from perdure.gateway.late import LATE
from perdure.gateway.transport.patch import Patch


def patches() -> list[Patch]:
    """One for each library that is installed: httpx2, which Perdure needs itself, and httpx."""
    found = [httpx2_transport.patch]
    if find_spec("httpx") is not None:
        import httpx  # imported here and now: whoever imports it later finds it patched

        # httpx2.alias_httpx() makes one library of the two.
        if httpx.HTTPTransport is not httpx2_transport.library.module.HTTPTransport:
            from perdure.gateway import httpx_transport

            found.append(httpx_transport.patch)
    return found


def install(capture: Capture | None = None) -> Capture:
    """Catches model calls of runs from now on, in every client of httpx2 and httpx, and of
    aiohttp and botocore as soon as somebody imports them.

    May be called often; each call needs its ``uninstall``. With several, the latest ``capture``
    counts; without one the present one stays. Returns the one that counts.
    """
    chosen = capture or installed() or Capture()
    for patch in patches():
        patch.install(chosen)
    for late in LATE:
        late.install(chosen)
    return chosen


def uninstall() -> None:
    """Undoes one ``install``; the last one takes the patch out."""
    for patch in patches():
        patch.uninstall()
    if installed() is None:
        for late in LATE:
            late.uninstall()


def installed() -> Capture | None:
    """What is at work, or None."""
    return httpx2_transport.patch.capture
