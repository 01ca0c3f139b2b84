"""Finds the notebooks to show, or lays down a copy of them that the user may change.

Files the user has changed stay as they are; files that are still as they were shipped follow the
package when it is updated. A small list of digests in the folder tells the two apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from detect.config import data_dir
from detect.errors import ConfigError

MANIFEST = ".shipped.json"
DASHBOARD = "dashboard.ipynb"


def notebooks_folder(wanted: Path | None) -> Path:
    """The folder Jupyter shows: ``wanted``, the shipped one, or a copy of it to write in.

    Raises
    ------
    ConfigError
        When the shipped notebooks are missing or the folder cannot be written.
    """
    from detect.resources import notebooks_dir

    shipped = notebooks_dir()
    if not (shipped / DASHBOARD).is_file():
        raise ConfigError(
            f"notebooks: expected {DASHBOARD} in {shipped}, it is missing. "
            "Install the package again: pip install --force-reinstall ."
        )
    if wanted is None and _is_for_writing(shipped):
        return shipped
    target = (wanted or data_dir() / "notebooks").expanduser().resolve()
    if target == shipped.resolve():
        return target
    try:
        copy_shipped(shipped, target)
    except OSError as error:
        raise ConfigError(
            f"--notebooks {target}: expected a folder to write in, got: {error}. Choose another."
        ) from error
    return target


def _is_for_writing(folder: Path) -> bool:
    """Whether people may edit in ``folder``: a checkout, not an installed package."""
    is_installed = {"site-packages", "dist-packages"} & set(folder.resolve().parts)
    return not is_installed and os.access(folder, os.W_OK)


def copy_shipped(shipped: Path, target: Path) -> None:
    """Copy ``shipped`` to ``target``, leaving alone what was changed there."""
    target.mkdir(parents=True, exist_ok=True)
    known = _read_manifest(target)
    digests: dict[str, str] = {}
    for source in sorted(shipped.rglob("*")):
        relative = source.relative_to(shipped)
        if not source.is_file() or any(part.startswith((".", "__")) for part in relative.parts):
            continue
        name = relative.as_posix()
        destination = target / relative
        if destination.exists() and _sha256(destination) != known.get(name):
            continue  # made or changed by the user
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
        digests[name] = _sha256(destination)
    (target / MANIFEST).write_text(json.dumps({**known, **digests}, indent=1), encoding="utf-8")


def _read_manifest(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
