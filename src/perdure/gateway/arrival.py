"""To act when a module is imported, without importing it: libraries that not every agent uses are
patched the moment they arrive, so that no call of theirs slips by, and cost nothing before."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Act = Callable[[], None]


class Arrivals(MetaPathFinder):
    """First among the importers while it waits for anything. Safe from any thread."""

    def __init__(self) -> None:
        self._awaited: dict[str, Act] = {}
        self._lock = threading.Lock()

    def expect(self, name: str, act: Act) -> None:
        """Calls ``act`` once module ``name`` is there: now, or right after it is imported, before
        its importer sees it. What ``act`` raises then goes to the importer. Until ``forget``, also
        when the module is imported anew."""
        with self._lock:
            self._awaited[name] = act
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)
        if name in sys.modules:
            # Another thread may be in the midst of importing it: this waits for its end.
            importlib.import_module(name)
            act()

    def forget(self, name: str) -> None:
        """Waits for it no more."""
        with self._lock:
            self._awaited.pop(name, None)
            if not self._awaited and self in sys.meta_path:
                sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib. Asks the other finders and adds to what they find."""
        if fullname not in self._awaited:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Announcer(spec.loader, self)
                return spec
        return None

    def arrived(self, name: str) -> None:
        """Its code has run."""
        act = self._awaited.get(name)
        if act is not None:
            act()


class _Announcer(Loader):
    """A loader that tells when its module has been run, and then leaves the stage to the one it
    stands for, whom the module's own code may ask for resources."""

    def __init__(self, inner: Loader, arrivals: Arrivals) -> None:
        self._inner = inner
        self._arrivals = arrivals

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        self._arrivals.arrived(module.__name__)


arrivals = Arrivals()
