from pathlib import Path

import pytest

from detect import resources
from detect.errors import ConfigError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site" / "detect"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE_DIR", package)
    return package


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_static_is_in_the_package(package: Path) -> None:
    write(package / "static" / "assets.json")
    assert resources.static_dir() == package / "static"


def test_unbuilt_front_end_says_how_to_build(package: Path) -> None:
    (package / "static").mkdir()
    with pytest.raises(ConfigError, match="npm run build"):
        resources.static_dir()


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_notebooks_and_registry_inside_or_beside_the_package(package: Path, where: str) -> None:
    root = package if where == "inside" else package.parent
    write(root / "notebooks" / "dashboard.ipynb")
    registry = write(root / "models" / "registry.toml")
    assert resources.notebooks_dir() == root / "notebooks"
    assert resources.registry_path() == registry


def test_the_installed_copy_comes_first(package: Path) -> None:
    write(package.parent / "models" / "registry.toml")
    inside = write(package / "models" / "registry.toml")
    assert resources.registry_path() == inside


@pytest.mark.parametrize("find", [resources.notebooks_dir, resources.registry_path])
def test_missing_files_name_both_places(package: Path, find: object) -> None:
    assert callable(find)
    with pytest.raises(ConfigError, match=r"looked for .*site") as caught:
        find()
    assert str(package.parent) in str(caught.value)


def test_this_checkout_or_install_has_a_registry_next_to_its_code() -> None:
    root = resources.PACKAGE_DIR
    expected = [root / "models" / "registry.toml", root.parent / "models" / "registry.toml"]
    assert resources.registry_path() in expected
