"""What is in a route's path."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import HTTPConnection

from perdure.errors import NotFound


def run_id_of(request: HTTPConnection) -> str:
    """The run's id in the path, in the form it is stored in. Raises NotFound for anything that
    cannot be one."""
    text: str = request.path_params["id"]
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound(f"There is no run {text[:100]!r}.", hint="Run ids are UUIDs.") from None
