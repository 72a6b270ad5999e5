from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running import ground
from tests.unit.runtime.harness import House, opened

__all__ = ["ground", "house"]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """See ``harness``: it also complains of what a test leaves behind."""
    async with opened(tmp_path) as house:
        yield house
