"""``GET /problems`` and ``GET /problems/{code}``: what an error means and what to do about it. The
``type`` of every problem document leads here, so that the page is always of the server's own
version; the setting ``server.problems`` leads elsewhere."""

from __future__ import annotations

import re
from html import escape
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from perdure.errors import NotFound, PerdureError, tree
from perdure.server.remedies import REMEDIES
from perdure.server.web.answers import Json, accepts
from perdure.server.web.problems import code_of, titled

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}
code{{background:#8882;padding:.1em .3em;border-radius:.2em}}:root{{color-scheme:light dark}}
</style></head><body>{body}</body></html>
"""
_RULES = re.compile(r"\s*\((?:rules? )?[A-Z]\d+[^)]*\)")  # of the design; no word for users


class Problems:
    async def show(self, request: Request) -> Response:
        """One error: JSON where that is asked for, else a page for people."""
        code: str = request.path_params["code"]
        found = explained(code)
        if found is None:
            raise NotFound(f"There is no error {code[:100]!r}.", hint="All of them: /problems")
        if accepts(request.headers, "application/json"):
            return Json(found)
        return HTMLResponse(_PAGE.format(title=escape(found["title"]), body=_body(found)))

    async def find(self, request: Request) -> Response:
        """All errors."""
        known = [found for code in codes() if (found := explained(code)) is not None]
        if accepts(request.headers, "application/json"):
            return Json({"problems": known})
        base = f"{request.scope.get('root_path', '')}/problems/"
        rows = "".join(
            f'<li><a href="{escape(base + one["code"])}"><code>{one["code"]}</code></a> '
            f"{_marked(one['meaning'])}</li>"
            for one in known
        )
        return HTMLResponse(_PAGE.format(title="Errors", body=f"<h1>Errors</h1><ul>{rows}</ul>"))


def codes() -> list[str]:
    """Every code that a problem document can carry."""
    return list(dict.fromkeys([*(cls.code for cls in tree()), "method_not_allowed"]))


def explained(code: str) -> dict[str, Any] | None:
    """What is to be said of an error; None where none has this code."""
    for cls in tree():
        if cls.code == code:
            return _explained(cls)
    for status in HTTPStatus:
        if status >= 400 and code_of(status) == code:
            return {
                "code": code,
                "title": status.phrase,
                "status": int(status),
                "retryable": False,
                "meaning": f"{status.description or status.phrase}.",
                "remedy": REMEDIES.get(code, ""),
            }
    return None


def _explained(cls: type[PerdureError]) -> dict[str, Any]:
    meaning = _RULES.sub("", (cls.__doc__ or "").strip().partition("\n\n")[0])
    return {
        "code": cls.code,
        "title": titled(cls),
        "status": cls.status,
        "retryable": cls.retryable,
        "meaning": " ".join(meaning.replace("``", "`").split()),
        "remedy": REMEDIES.get(cls.code) or cls.default_hint or "",
    }


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _body(found: dict[str, Any]) -> str:
    again = "The same request may work later." if found["retryable"] else ""
    return (
        f"<h1>{escape(found['title'])}</h1>"
        f"<p><code>{escape(found['code'])}</code>, HTTP {found['status']}. {again}</p>"
        f"<p>{_marked(found['meaning'])}</p><h2>What to do</h2><p>{_marked(found['remedy'])}</p>"
    )
