"""Bytes in few characters."""

from __future__ import annotations


def short_bytes(size: int) -> str:
    """``950 B``, ``1.2 KiB``, ``35 MiB``."""
    if size < 1024:
        return f"{size} B"
    shown = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        shown /= 1024
        if shown < 1024:
            return f"{shown:.1f} {unit}" if shown < 9.95 else f"{shown:.0f} {unit}"
    return f"{shown / 1024:.1f} TiB"
