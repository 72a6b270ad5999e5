"""The page for browsers at ``/``: agents, runs, a form to start one. One static file each of HTML,
CSS and JavaScript, which use the API like any other client; nothing is rendered here.

Invariants: the files hold nobody's data, so they need no key; the page loads nothing from
elsewhere, and its policy forbids it to, as it forbids every way from text to markup; its addresses
are relative, so that it works under any prefix.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/console/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/console/style.css": ("style.css", "text/css; charset=utf-8"),
}
PATHS = frozenset(_FILES)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[Route]:
    """A route for each file."""
    return [Route(path, File(*about).show) for path, about in _FILES.items()]


class File:
    """A static file with its headers, read once."""

    def __init__(self, name: str, media_type: str) -> None:
        self._body = (_FOLDER / name).read_bytes()
        self._headers = {
            **HEADERS,
            "Content-Type": media_type,
            "ETag": f'"{sha256(self._body).hexdigest()[:32]}"',
        }

    async def show(self, request: Request) -> Response:
        """The file; 304 where the browser has it already."""
        known = request.headers.get("if-none-match", "")
        if self._headers["ETag"] in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers)
