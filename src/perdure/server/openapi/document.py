"""The whole document: what each route takes and answers, from the parts beside this file.

It is data, written by hand and held to the routes by tests: the same paths, and answers that fit
(schemathesis)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from perdure import __version__
from perdure.server.openapi.operations import paths
from perdure.server.openapi.schemas import SCHEMAS

_ABOUT = """Runs of agents: started, watched, answered, cancelled. Errors are problem documents
(RFC 9457); their `type` leads to what they mean. A server without API keys needs none, and
answers its own machine only."""


@lru_cache
def document(base: str = "/") -> dict[str, Any]:
    """The document of a server whose paths begin at ``base``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perdure",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base}],
        "security": [{"bearer": []}, {"header": []}],
        "tags": [
            {"name": "runs", "description": "Starting and reading runs."},
            {"name": "changing", "description": "What is done to a run from outside."},
            {"name": "dead letters", "description": "Runs that are out of attempts."},
            {"name": "agents", "description": "What can be run."},
            {"name": "gateway", "description": "Limits of the model providers, money."},
            {"name": "server", "description": "The server itself."},
        ],
        "paths": paths(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: pk_<id>_<secret>.",
                },
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
