"""A copy of a SQLite store while it is in use: the database as it was at one moment, and the large
values that it refers to.

The values are listed from the copy, not from the store: what the copy refers to is what a restore
needs. They never change, so that it does not matter when they are copied; a sweep cannot remove
them, as the store refers to them still, or did so within its grace.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from perdure.errors import BlobMissing
from perdure.store.base import Store
from perdure.store.blobs import Blobs, FileBlobs, name_of


async def back_up(store: Store, blobs: Blobs, file: Path, folder: Path | None) -> dict[str, Any]:
    """Returns what was copied, as ``--json`` prints it. Raises Conflict where FILE is there,
    UsageError for a store that is not SQLite."""
    references = await store.back_up(file)
    return await asyncio.to_thread(_with_blobs, blobs, references, file, folder)


def _with_blobs(
    blobs: Blobs, references: list[bytes], file: Path, folder: Path | None
) -> dict[str, Any]:
    target = None if folder is None else FileBlobs(folder)
    sizes = {name_of(each): _copied(blobs, target, each) for each in references}
    listed = [{"name": name, "bytes": size} for name, size in sizes.items() if size is not None]
    missing = [name for name, size in sizes.items() if size is None]
    manifest = {"database": file.name, "blobs": listed, "missing": missing}
    Path(f"{file}.blobs.json").write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "blobs": len(listed),
        "blob_bytes": sum(size for size in sizes.values() if size is not None),
        "missing": missing,
    }


def _copied(blobs: Blobs, target: FileBlobs | None, reference: bytes) -> int | None:
    """The blob's size; None where it is not there, or damaged."""
    try:
        data = blobs.get(reference)
    except BlobMissing:
        return None
    if target is not None:
        target.put(data)
    return len(data)
