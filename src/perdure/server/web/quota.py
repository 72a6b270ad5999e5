"""How much room there is, in the fields of draft-ietf-httpapi-ratelimit-headers-10. The one policy
is ``queue``: so many runs of an agent may be queued, counted over all servers."""

from __future__ import annotations

import math

POLICY = "queue"


def quota(limit: int, remaining: int, reset: float) -> dict[str, str]:
    """``remaining`` of ``limit`` runs may still be queued; ask again in ``reset`` seconds."""
    return {
        "RateLimit-Policy": f'"{POLICY}";q={limit}',
        "RateLimit": f'"{POLICY}";r={max(remaining, 0)};t={max(math.ceil(reset), 0)}',
    }
