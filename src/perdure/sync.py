"""The verbs that wait or end, for synchronous agent code: ``from perdure import sync``.

``sync.sleep(60)`` and ``sync.wait_for("approved")`` block the agent's own thread; everything else
(``emit``, ``now``, ``uuid4``, ``current``, steps and tools) is the same in both worlds.
"""

from __future__ import annotations

from perdure.runtime.continuing import continue_as_blocking as continue_as
from perdure.runtime.verbs import sleep_blocking as sleep
from perdure.runtime.verbs import wait_for_blocking as wait_for

__all__ = ["continue_as", "sleep", "wait_for"]
