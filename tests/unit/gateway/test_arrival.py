"""To act when a module arrives."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from perdure.gateway.arrival import Arrivals

NAME = "perdure_arrival_example"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = tmp_path / f"{NAME}.py"
    file.write_text("loader = type(__spec__.loader)\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    sys.modules.pop(NAME, None)


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    made = Arrivals()
    yield made
    made.forget(NAME)
    assert made not in sys.meta_path


@pytest.mark.usefixtures("module")
def test_it_acts_after_the_module_ran_and_before_its_importer_goes_on(arrivals: Arrivals) -> None:
    spec = find_spec(NAME)
    assert spec is not None
    usual = type(spec.loader)  # other libraries hook into imports too
    seen = []
    arrivals.expect(NAME, lambda: seen.append(sys.modules[NAME].value))
    assert seen == []
    module = importlib.import_module(NAME)
    assert seen == [1]
    assert module.loader is usual
    assert type(module.__loader__) is usual


@pytest.mark.usefixtures("module")
def test_what_is_there_already_is_acted_upon_at_once(arrivals: Arrivals) -> None:
    importlib.import_module(NAME)
    seen: list[int] = []
    arrivals.expect(NAME, lambda: seen.append(1))
    assert seen == [1]


@pytest.mark.usefixtures("module")
def test_what_is_forgotten_is_not_acted_upon(arrivals: Arrivals) -> None:
    seen: list[int] = []
    arrivals.expect(NAME, lambda: seen.append(1))
    arrivals.forget(NAME)
    importlib.import_module(NAME)
    assert seen == []


@pytest.mark.usefixtures("module")
def test_what_is_imported_anew_arrives_anew(arrivals: Arrivals) -> None:
    seen: list[int] = []
    arrivals.expect(NAME, lambda: seen.append(1))
    importlib.import_module(NAME)
    del sys.modules[NAME]
    importlib.import_module(NAME)
    assert seen == [1, 1]


@pytest.mark.usefixtures("module")
def test_an_error_goes_to_the_importer(arrivals: Arrivals) -> None:
    """A patch that does not fit must not be silent (rule T2)."""

    def act() -> None:
        raise RuntimeError("it does not fit")

    arrivals.expect(NAME, act)
    with pytest.raises(RuntimeError, match="does not fit"):
        importlib.import_module(NAME)
    assert NAME not in sys.modules


def test_what_does_not_exist_is_still_missing(arrivals: Arrivals) -> None:
    arrivals.expect(NAME, lambda: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)
