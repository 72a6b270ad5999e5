"""Where the server is and who asks."""

from __future__ import annotations

from perdure import __version__
from perdure.config import client_settings

DEFAULT = "http://127.0.0.1:8080"


def url_of(url: str | None) -> str:
    """The server's address: given, ``PERDURE_URL``, or the one that ``perdure dev`` has."""
    return url or client_settings()[0] or DEFAULT


def headers_of(api_key: str | None) -> dict[str, str]:
    """What every request carries."""
    key = api_key or client_settings()[1]
    headers = {"User-Agent": f"perdure/{__version__}"}
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers
