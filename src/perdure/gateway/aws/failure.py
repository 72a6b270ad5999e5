"""botocore's exceptions in neutral words, and those of a body back."""

from __future__ import annotations

from typing import Any

import botocore.exceptions as aws
import urllib3.exceptions as http

from perdure.gateway.outcome import FailureKind, SendFailed

_CONNECT = (
    aws.ConnectTimeoutError, aws.EndpointConnectionError, aws.ProxyConnectionError, aws.SSLError,
)  # fmt: skip
_TIMEOUT = (aws.ReadTimeoutError, http.ReadTimeoutError)


def failed(error: Exception) -> SendFailed | None:
    """None when it is none of the transport's."""
    if not isinstance(error, aws.HTTPClientError | aws.ConnectionError | http.HTTPError):
        return None
    kind: FailureKind = "broken"
    if isinstance(error, _CONNECT):
        kind = "connect"
    elif isinstance(error, _TIMEOUT):
        kind = "timeout"
    return SendFailed(kind, type(error).__name__, str(error))


def exception(failure: SendFailed) -> Exception:
    """What reading a body raises: botocore passes on urllib3's own."""
    if failure.error == "ReadTimeoutError":
        nowhere: Any = None
        return http.ReadTimeoutError(nowhere, "", failure.message)
    return http.ProtocolError(failure.message)
