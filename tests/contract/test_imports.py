"""Imports point one way (docs/architecture.md), and light things stay light.

Read from the source with ``ast``, so that imports inside functions and under ``TYPE_CHECKING``
count too: a dependency is one whenever it is taken.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import detect

PACKAGE = Path(detect.__file__).parent

LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "clock",
            "config",
            "download",
            "errors",
            "geometry",
            "latest",
            "metrics",
            "mode",
            "model_file",
            "protocol",
            "resources",
            "types",
            "version",
            "zoo",
        }
    ),
    frozenset({"vision"}),
    frozenset({"flow"}),
    frozenset({"rtc"}),
    frozenset({"server"}),
    frozenset({"dashboard", "launcher"}),
    frozenset({"cli", "jupyter"}),
    frozenset({"__init__", "__main__"}),
)
"""From the values up; a part may import its own layer's values and every layer below it."""

LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

ISOLATED = {
    # Kernels are light: a dashboard page talks to the media server, it never is one.
    "dashboard": LAYERS[0],
    # The launcher starts processes; of the server it needs only what finds ports and addresses.
    "launcher": LAYERS[0] | {"server"},
}
"""Parts that may import even less than their layer allows."""

WEB = frozenset({"aiortc", "aioice", "fastapi", "starlette", "uvicorn", "socketio"})
NOTEBOOK = frozenset({"anywidget", "bqplot", "ipywidgets", "ipywebrtc", "voila", "IPython"})
ENGINES = frozenset({"onnxruntime"})
FORBIDDEN = {
    "vision": WEB | NOTEBOOK,
    "flow": WEB | NOTEBOOK | ENGINES,
    "rtc": NOTEBOOK | ENGINES | {"fastapi", "starlette", "uvicorn", "socketio"},
    "server": NOTEBOOK,
    "dashboard": WEB | ENGINES,
    **dict.fromkeys(LAYERS[0] - {"mode"}, WEB | NOTEBOOK | ENGINES),
    "mode": WEB | NOTEBOOK,  # it looks what the installed engines can do
}
"""Packages that a part must not know."""


def sources() -> list[Path]:
    return sorted(
        path
        for path in PACKAGE.rglob("*.py")
        if "frontend" not in path.parts and "node_modules" not in path.parts
    )


def part_of(path: Path) -> str:
    """``detect/rtc/session.py`` → ``rtc``, ``detect/clock.py`` → ``clock``."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names of every import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or node.module is not None, f"{path}: `from . import`"
            base = _absolute(path, node)
            yield base
            if base == "detect":
                yield from (f"detect.{alias.name}" for alias in node.names)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    module = node.module or ""
    if node.level == 0:
        return module
    folder = path.relative_to(PACKAGE.parent).parent.parts
    return ".".join((*folder[: len(folder) - node.level + 1], module))


def imported_parts(path: Path) -> set[str]:
    names = (name.split(".") for name in imported_names(path))
    parts = {name[1] for name in names if name[0] == "detect" and len(name) > 1}
    # `from detect import load_pipeline`: a name of the package's face, not a part.
    return {part for part in parts if (PACKAGE / part).is_dir() or _is_module(part)}


def _is_module(part: str) -> bool:
    return (PACKAGE / f"{part}.py").is_file()


SOURCES = [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in sources()]


def test_every_part_has_its_place() -> None:
    assert {part_of(path) for path in sources()} <= LEVEL.keys()


@pytest.mark.parametrize("path", SOURCES)
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    allowed = {
        other
        for other, level in LEVEL.items()
        if level < LEVEL[part] or (level == LEVEL[part] == 0) or other == part
    }
    allowed &= ISOLATED.get(part, allowed) | {part}

    assert imported_parts(path) <= allowed


@pytest.mark.parametrize("path", SOURCES)
def test_each_part_knows_only_the_packages_of_its_job(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported_names(path)}

    assert packages.isdisjoint(FORBIDDEN.get(part_of(path), frozenset()))


def test_the_walk_sees_every_kind_of_import(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "import os\n"
        "from detect import clock\n"
        "def late():\n    from detect.rtc.session import PhoneSession\n"
        "if TYPE_CHECKING:\n    import detect.server.app as app\n"
    )

    assert set(imported_names(path)) == {
        "os",
        "detect",
        "detect.clock",
        "detect.rtc.session",
        "detect.server.app",
    }
    assert imported_parts(path) == {"clock", "rtc", "server"}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=PACKAGE.parent,
        text=True,
        timeout=60,
    )
    return set(done.stdout.split())


HEAVY = WEB | NOTEBOOK | ENGINES | {"av", "jupyter_server", "jupyterlab", "pandas"}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import detect", HEAVY | {"numpy"}),
        ("import detect.types, detect.metrics, detect.protocol", HEAVY),
        ("import detect.flow.scheduler", HEAVY - {"av"}),
        ("import detect.cli", HEAVY | {"numpy"}),
    ],
)
def test_light_things_stay_light(statement: str, forbidden: frozenset[str]) -> None:
    assert loaded_by(statement).isdisjoint(forbidden)
