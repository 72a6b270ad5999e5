"""Every command, option, setting, error code, crash point, route, event, metric and public name
is in the reference."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import perdure
from docs import generate
from perdure.config import load
from perdure.core.crash import Point
from perdure.core.record import RecordType
from perdure.server.asgi import make_app
from perdure.server.service import Service
from perdure.store import make_store
from tests.docs.pages import ROOT, pages

MADE = generate.pages()


def _read(name: str) -> str:
    return (generate.FOLDER / "reference" / name).read_text("utf-8")


@pytest.mark.parametrize("path", MADE)
def test_made_pages_are_up_to_date(path: str) -> None:
    text = (generate.FOLDER / path).read_text("utf-8")
    assert text == MADE[path], f"docs/{path} is out of date: make docs"


def test_commands_and_options() -> None:
    text = _read("cli.md")
    parts = re.split(r"^#+ ", text, flags=re.MULTILINE)
    by_name = {part.partition("\n")[0]: part for part in parts}
    for name, command in generate.commands():
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (name, option.name)
                assert all(word in by_name[name] for word in option.opts), (name, option.opts)


def test_settings() -> None:
    rows = generate.setting_rows()
    assert {name for name, _, _ in rows} == set(generate.setting_texts())
    text = _read("settings.md")
    for name, _, variable in rows:
        assert f"`{name.rpartition('.')[2]}`" in text
        assert variable in text or variable == "PERDURE_STORE_URL"


def test_documented_variables_set_what_they_name(tmp_path: Path) -> None:
    """The names in settings.md are those that config.py reads, not merely look like them."""
    values = {int: "7", str: "text", bool: "true", float: "7"}
    for name, default, variable in generate.setting_rows():
        if variable:
            config = load(None, environ={variable: values.get(type(default), "7s")})
            assert config.sources == {name: variable}


def test_error_codes() -> None:
    text = _read("errors.md")
    for cls in generate.error_classes():
        assert f"| `{cls.code}` | {cls.__name__} |" in text
        assert cls.__doc__, cls


def test_crash_points() -> None:
    text = _read("crash-points.md")
    assert all(f"`{point.value}`" in text for point in Point)


def test_public_names() -> None:
    text = _read("python.md")
    assert all(f"### {name}\n" in text for name in perdure.__all__ if not name.startswith("_"))


def test_what_the_docs_import_is_documented() -> None:
    """Each name that a page imports from Perdure is in python.md; errors are in errors.md."""
    listed = {(module, name) for _, module, names in generate.sections() for name in names}
    # A package's own name beside the module that has it: perdure.client.Event.
    listed |= {(heading, name) for heading, _, names in generate.sections() for name in names}
    modules = {heading for heading, _, _ in generate.sections()}
    for block in (block for page in pages() for block in page.blocks):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.code)):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module.partition(".")[0] != "perdure":
                continue
            for name in (alias.name for alias in node.names):
                if node.module == "perdure.errors":
                    assert f"| {name} |" in _read("errors.md"), (str(block), name)
                    continue
                known = (node.module, name) in listed or f"{node.module}.{name}" in modules
                assert known, f"{block}: {node.module}.{name} is not in the reference"


def test_routes(tmp_path: Path) -> None:
    """Each route has its heading in http.md, and no heading names a route that is not there."""
    config = load(None, environ={}, flags={"store.url": f"sqlite:///{tmp_path}/x.db"})
    app = make_app(Service({}, config, make_store(config.store.url), None))
    served = {
        f"{method} {route.path}"  # type: ignore[attr-defined]
        for route in app.routes
        for method in getattr(route, "methods", {"WS"}) - {"HEAD"}
    }
    told = re.findall(r"^### ((?:GET|POST|PUT|DELETE|WS) \S+)$", _read("http.md"), re.MULTILINE)
    assert sorted(told) == sorted(served)


def test_event_types() -> None:
    text = _read("events.md")
    types = {str(one) for one in RecordType} - {"entry"} | {"effect", "emit"}
    assert types == set(re.findall(r"^### `([\w.]+)`$", text, re.MULTILINE))


def test_warning_codes() -> None:
    text = _read("events.md")
    codes = {code for p in (ROOT / "src/perdure").rglob("*.py") for code in _warnings(p)}
    assert {"changed", "rerun", "model_retry", "unserializable"} <= codes
    assert all(f"`{code}`" in text for code in codes), codes


def _warnings(path: Path) -> Iterator[str]:
    """Codes that stand as literals where a run is warned of something: ``warn("code", …)``, or
    ``warn`` handed over with its arguments."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        for said, code in zip((node.func, *node.args), node.args, strict=False):
            if isinstance(said, ast.Attribute) and said.attr in ("warn", "warning"):
                value = code.value if isinstance(code, ast.Constant) else None
                if isinstance(value, str) and re.fullmatch("[a-z_]+", value):
                    yield value


def test_metrics() -> None:
    text = _read("http.md")
    code = "".join(p.read_text("utf-8") for p in (ROOT / "src/perdure").rglob("*.py"))
    names = set(re.findall(r'Family\(\s*"(perdure_\w+)"', code))
    names |= set(re.findall(r'"(perdure_\w+_total)"', code))
    assert len(names) >= 10
    assert all(f"`{name}`" in text for name in names), names
