"""What is common to the patches of the libraries that are caught when an agent imports them."""

from __future__ import annotations

from perdure.gateway.capture import Capture
from perdure.slot import Slot, Slots


class LibraryPatch:
    """Its slots are filled while there is a ``capture``."""

    def __init__(self, *slots: Slot) -> None:
        self.capture: Capture | None = None
        self._slots = Slots(*slots)

    def install(self, capture: Capture) -> None:
        """Puts it in; the latest ``capture`` counts."""
        self.capture = capture
        self._slots.fill()

    def uninstall(self) -> None:
        """Takes it out."""
        self.capture = None
        self._slots.clear()
