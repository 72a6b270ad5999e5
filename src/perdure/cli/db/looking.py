"""Looking over a store and its blobs together, and mending."""

from __future__ import annotations

import asyncio
from itertools import islice

from perdure.core.words import counted
from perdure.errors import BlobMissing
from perdure.runtime.housekeeping import BLOBS, ROWS
from perdure.store.base import Store
from perdure.store.blobs import Blobs, name_of, now, reference_to
from perdure.store.inspection import ORPHANS, Finding

GRACE = 86400.0  # seconds: younger blobs may be about to be referred to
DELETED = (*ORPHANS, "leftover")  # what goes with the next clear


async def look(store: Store, blobs: Blobs, *, contents: bool = False) -> list[Finding]:
    """All findings. ``contents``: read every blob that is referred to. Raises
    StoreUnavailable."""
    found = await store.inspect()
    if any(finding.code == "damaged" for finding in found):
        return found
    after = b""
    while page := await store.references(after, BLOBS):
        after = page[-1]
        for reference in page:
            code = await asyncio.to_thread(_wrong, blobs, reference, contents)
            if code is not None:
                found.append(Finding(code, name_of(reference)))
    count = size = 0
    stored = blobs.stored()
    while some := await asyncio.to_thread(lambda: list(islice(stored, BLOBS))):
        old = {reference_to(b.name): b for b in some if b.modified <= now() - GRACE}
        known = await store.referenced(list(old))
        orphans = [blob for reference, blob in old.items() if reference not in known]
        count += len(orphans)
        size += sum(blob.size for blob in orphans)
    if count:
        found.append(
            Finding("orphan_blob", blobs.url, f"{counted(count, 'blob')}, {counted(size, 'byte')}")
        )
    return found


def _wrong(blobs: Blobs, reference: bytes, contents: bool) -> str | None:
    if not contents:
        return None if blobs.has(reference) else "missing_blob"
    try:
        blobs.get(reference)
    except BlobMissing:
        return "damaged_blob" if blobs.has(reference) else "missing_blob"
    return None


async def mend(store: Store, findings: list[Finding]) -> list[tuple[Finding, bool]]:
    """Repair what is safe; returns each with whether it is well now."""
    done = [(f, f.code in DELETED or await store.mend(f)) for f in findings]
    for finding in findings:
        if finding.code in ORPHANS:
            await store.mend(finding)
    while any(f.code in DELETED for f in findings) and (await store.clear(ROWS)).left:
        pass
    return done
