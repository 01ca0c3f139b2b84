"""What the documents point at is there."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "models/*.md", "detect/frontend/*.md")
    for path in ROOT.glob(pattern)
)
BUILT = "detect/static"  # not in git

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")

each_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS]
)


@each_document
def test_links_lead_to_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text)
    targets += re.findall(r'src="(?!https?:)([^"]+)"', text)
    assert [target for target in targets if not (path.parent / target).exists()] == []


@each_document
def test_modules_that_are_named_exist(path: Path) -> None:
    names = set(re.findall(r"`(detect(?:\.\w+)+)`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not exists(name)] == []


def exists(name: str) -> bool:
    """A module, or a name in one."""
    module, _, last = name.rpartition(".")
    return is_module(name) or (is_module(module) and hasattr(import_module(module), last))


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


@each_document
def test_files_that_are_named_exist(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = re.findall(r"`((?:detect|tests|docs|bench|models|notebooks)/[\w./-]+)`", prose)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert [name for name in missing if not name.startswith(BUILT)] == []
