"""Where the files that come with the package lie: built front-end, notebooks, model registry.

In an installed package they are inside it (``pyproject.toml`` puts them there); in a checkout the
notebooks and the registry are beside it, so that there is one copy of each.
"""

from __future__ import annotations

from pathlib import Path

from detect.errors import ConfigError

PACKAGE_DIR = Path(__file__).resolve().parent


def static_dir() -> Path:
    """Folder of the built front-end: ``phone.html``, the bundles and ``assets.json``.

    Raises
    ------
    ConfigError
        If the front-end has not been built.
    """
    static = PACKAGE_DIR / "static"
    if not (static / "assets.json").is_file():
        raise ConfigError(
            f"the front-end is not built: expected {static / 'assets.json'}. In a checkout run "
            "`npm ci && npm run build` in detect/frontend, or install again with "
            "`pip install -e .` and DETECT_SKIP_FRONTEND not set; elsewhere reinstall the package."
        )
    return static


def notebooks_dir() -> Path:
    """Folder of ``dashboard.ipynb`` and its companions.

    Raises
    ------
    ConfigError
        If it is neither in the package nor beside it.
    """
    return _find("notebooks", is_dir=True)


def registry_path() -> Path:
    """The model registry ``models/registry.toml``.

    Raises
    ------
    ConfigError
        If it is neither in the package nor beside it.
    """
    return _find("models/registry.toml", is_dir=False)


def _find(relative: str, *, is_dir: bool) -> Path:
    places = [PACKAGE_DIR / relative, PACKAGE_DIR.parent / relative]
    for path in places:
        if path.is_dir() if is_dir else path.is_file():
            return path
    raise ConfigError(
        f"{relative} is missing: looked for {places[0]} and {places[1]}. Install the package again."
    )
