"""The model gateway: model calls of unmodified agents are caught at the HTTP transport, answered
from the run's journal or sent, tried again where that helps, and recorded.

:func:`install` puts it under every client of httpx2, httpx, aiohttp and botocore in this process
(the last two once an agent imports them); :func:`uninstall` is the off switch.
:class:`AsyncTransport` and :class:`Transport` are the explicit alternative for httpx2;
``perdure.gateway.httpx_transport`` has the same for httpx.
"""

from __future__ import annotations

from perdure.gateway.capture import Capture
from perdure.gateway.httpx2_transport import AsyncTransport, Transport
from perdure.gateway.installation import install, installed, uninstall
from perdure.gateway.providers import Providers
from perdure.gateway.retries import RetrySettings

__all__ = [
    "AsyncTransport", "Capture", "Providers", "RetrySettings", "Transport", "install",
    "installed", "uninstall",
]  # fmt: skip
