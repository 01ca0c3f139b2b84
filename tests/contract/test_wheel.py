"""What is in the wheel: everything a user needs, nothing a user does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not in a checkout"),
    pytest.mark.skipif(
        not (ROOT / "detect" / "static" / "assets.json").is_file(),
        reason="needs the built front-end (`npm run build` in detect/frontend)",
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="needs hatchling")
    out = tmp_path_factory.mktemp("wheel")
    # The front-end as it is: building it is the subject of test_frontend_build.py.
    env = {**os.environ, "DETECT_SKIP_FRONTEND": "1"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> frozenset[str]:
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


def read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name).decode()


def test_every_file_of_the_front_end(wheel: Path, names: frozenset[str]) -> None:
    assets = json.loads(read(wheel, "detect/static/assets.json"))
    assert {f"detect/static/{name}" for name in assets.values()} <= names


@pytest.mark.parametrize(
    "name",
    ["detect/models/registry.toml", "detect/notebooks/dashboard.ipynb", "detect/py.typed"],
)
def test_data_and_type_marker(names: frozenset[str], name: str) -> None:
    assert name in names


def test_every_module_of_the_package(names: frozenset[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "detect"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    modules = {name for name in tracked if name.endswith(".py") and (ROOT / name).is_file()}
    assert {name for name in modules if "/frontend/" not in name} <= names


def test_nothing_that_users_do_not_need(names: frozenset[str]) -> None:
    unwanted = ("detect/frontend/", "tests/", "bench/", "node_modules", "__pycache__", ".part")
    assert [name for name in names if any(part in name for part in unwanted)] == []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"detect", "detect_live"}


def test_the_command_and_the_licences(wheel: Path, names: frozenset[str]) -> None:
    [entry_points] = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    assert "detect = detect.cli:main" in read(wheel, entry_points)
    licences = {name.rsplit("/", 1)[1] for name in names if ".dist-info/licenses/" in name}
    assert {"LICENSE", "THIRD_PARTY_NOTICES"} <= licences


def test_no_weights_are_shipped_by_accident(wheel: Path, names: frozenset[str]) -> None:
    assert [name for name in names if name.endswith((".onnx", ".pt", ".mp4"))] == []
    assert wheel.stat().st_size < 20_000_000
