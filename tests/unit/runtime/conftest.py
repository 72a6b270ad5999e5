from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running import Ground


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    place = Ground(tmp_path)
    await place.open()
    try:
        yield place
    finally:
        await place.close()
