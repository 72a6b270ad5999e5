from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running import Ground
from tests.unit.runtime.harness import House, opened


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    place = Ground(tmp_path)
    await place.open()
    try:
        yield place
    finally:
        await place.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """See ``harness``: it also complains of what a test leaves behind."""
    async with opened(tmp_path) as house:
        yield house
