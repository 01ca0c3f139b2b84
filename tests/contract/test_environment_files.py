"""Every list of dependencies says what ``pyproject.toml`` says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ("environment.yml", "binder/environment.yml")

pytestmark = pytest.mark.skipif(
    not (ROOT / "environment.yml").is_file(), reason="needs the checkout"
)


def listed(environment: str) -> list[str]:
    """Requirements below ``pip:`` of a conda environment file, as written."""
    text = (ROOT / environment).read_text(encoding="utf-8")
    lines = text.partition("- pip:\n")[2].splitlines()
    found = [re.fullmatch(r'      - "?(.+?)"?', line) for line in lines]
    assert all(found), f"{environment}: one requirement a line below `- pip:`, nothing behind them"
    return [match[1] for match in found if match]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_conda_lists_the_packages_dependencies(environment: str) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    wanted = {Requirement(line) for line in dependencies}
    assert {Requirement(line) for line in listed(environment)} == wanted


def test_binder_uses_the_same_environment() -> None:
    texts = {(ROOT / name).read_text(encoding="utf-8") for name in ENVIRONMENTS}
    assert len(texts) == 1, "binder/environment.yml is a copy: Binder looks in no other folder"
