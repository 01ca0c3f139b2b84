"""Names of models → files whose every byte was checked.

The order of looking is that of :func:`find_model`. ``models/registry.toml`` holds the data, this
module the rules; a new model is one table there.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from detect.config import cache_dir
from detect.download import OnProgress, download
from detect.errors import ConfigError, ModelError
from detect.geometry import SizeWh
from detect.model_file import MAX_MODEL_BYTES, check_onnx, read_model, sha256_hex
from detect.resources import registry_path

logger = logging.getLogger(__name__)

MODELS_ENV = "DETECT_MODELS"
"""Environment variable: folders with model files, separated by ``os.pathsep``."""

MAX_INPUT_SIDE_PX = 4096
"""Largest side of a model's input that is believed."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.onnx")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the registry.

    Attributes
    ----------
    name : str
        How users call it.
    family : str
        Key of ``detect.vision.postprocess.FAMILIES``.
    file : str
        File name, without a folder.
    sha256, size_bytes : str, int
        What the file must be.
    licence : str
        SPDX identifier of the weights' licence.
    input_wh : tuple of int
        Size of the model's input in pixels.
    classes : str
        Name of a class list of ``detect.vision.classes.CLASS_LISTS``.
    urls : tuple of str
        Where it can be downloaded, tried in order; empty: the user brings the file.
    opt_in : bool
        Used only when asked for by name, never by default or as a replacement.
    measured_ap50_95, measured_ap50 : float or None
        On the photographs of the tests.
    published_ap50_95, published_ap50 : float or None
        By the model's authors, on COCO val2017.

    Raises
    ------
    ConfigError
        If a value is not of its form.
    """

    name: str
    family: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    input_wh: SizeWh
    classes: str
    urls: tuple[str, ...] = ()
    opt_in: bool = False
    measured_ap50_95: float | None = None
    measured_ap50: float | None = None
    published_ap50_95: float | None = None
    published_ap50: float | None = None

    def __post_init__(self) -> None:
        self._require("name", bool(_NAME.fullmatch(self.name)), "lower-case letters, digits, . -")
        self._require("file", bool(_FILE.fullmatch(self.file)), "a plain name ending in .onnx")
        self._require("sha256", bool(_SHA256.fullmatch(self.sha256)), "64 hexadecimal digits")
        self._require("size_bytes", 0 < self.size_bytes <= MAX_MODEL_BYTES, "a believable size")
        self._require("input_wh", _is_size(self.input_wh), f"two sides up to {MAX_INPUT_SIDE_PX}")
        self._require("urls", all(map(_is_safe_url, self.urls)), "https addresses")
        for name in ("family", "licence", "classes"):
            self._require(name, bool(getattr(self, name)), "a word")

    def _require(self, name: str, is_met: bool, expected: str) -> None:
        if not is_met:
            raise ConfigError(
                f"model {self.name!r}: {name}: expected {expected}, got {getattr(self, name)!r}"
            )


def _is_size(size_wh: SizeWh) -> bool:
    are_integers = [type(side) for side in size_wh] == [int, int]
    return are_integers and all(0 < side <= MAX_INPUT_SIDE_PX for side in size_wh)


def _is_safe_url(url: str) -> bool:
    """Encrypted, or on this machine (tests): the hash guards the content, this the privacy."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "127.0.0.1")


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A model file that was read once, hashed and checked; load ``content``, not ``path``.

    Attributes
    ----------
    path : Path
        Where it was found.
    content : bytes
        The whole file: exactly what was hashed.
    sha256 : str
        Its hash.
    entry : ModelEntry or None
        What the registry says about it; None for a file it does not know.
    notice : str or None
        For the user, when it is not the model that was asked for.
    """

    path: Path
    content: bytes = field(repr=False)
    sha256: str
    entry: ModelEntry | None = None
    notice: str | None = None


def load_registry(path: Path | None = None) -> dict[str, ModelEntry]:
    """Read and check the registry.

    Raises
    ------
    ConfigError
        If the file cannot be read, or an entry has an unknown, missing or malformed value.
    """
    path = path or registry_path()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("models", {})
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}. Reinstall the package.") from error
    return {name: _entry_from_table(name, table) for name, table in tables.items()}


def _entry_from_table(name: str, table: dict[str, Any]) -> ModelEntry:
    unknown = table.keys() - {item.name for item in fields(ModelEntry)}
    if unknown:
        raise ConfigError(f"model {name!r}: unknown {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    try:
        return ModelEntry(name=name, **values)
    except TypeError as error:
        raise ConfigError(f"model {name!r}: {error}") from None


def model_folders() -> list[Path]:
    """Where files are looked for: the folders of ``DETECT_MODELS``, then the user's cache."""
    named = os.environ.get(MODELS_ENV, "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in named if folder), cache_dir() / "models"]


def find_file(entry: ModelEntry) -> Path | None:
    """Find the first file that has the name of ``entry``, whatever is in it."""
    paths = (folder / entry.file for folder in model_folders())
    return next((path for path in paths if path.is_file()), None)


def local_file(entry: ModelEntry) -> Path | None:
    """Find a file that has the name and size of ``entry``; it is not read, so not yet verified."""
    for folder in model_folders():
        path = folder / entry.file
        if path.is_file() and path.stat().st_size == entry.size_bytes:
            return path
    return None


def verify(path: Path, entry: ModelEntry | None = None) -> VerifiedModel:
    """Read a file and check it: against ``entry`` where given, else only for being safe ONNX.

    Raises
    ------
    ModelError
        If it cannot be read, is not ONNX, keeps data outside, or does not match ``entry``.
    """
    content = read_model(path)
    sha256 = sha256_hex(content)
    if entry is not None and sha256 != entry.sha256:
        raise ModelError(
            f"{path}: expected the {entry.name} file with SHA-256 {entry.sha256}, got {sha256}. "
            f"Delete it, then run `detect models pull {entry.name}` or bring the right file."
        )
    check_onnx(content, str(path))
    return VerifiedModel(path, content, sha256, entry)


def pull(entry: ModelEntry, *, on_progress: OnProgress | None = None) -> VerifiedModel:
    """Download a model into the user's cache, unless a good file is there already.

    Raises
    ------
    ModelError
        If the registry knows no address, or every address failed.
    """
    target = cache_dir() / "models" / entry.file
    if target.is_file() and sha256_hex(read_model(target)) == entry.sha256:
        return verify(target, entry)
    failures = []
    for url in entry.urls:
        try:
            download(
                url,
                target,
                sha256=entry.sha256,
                size_bytes=entry.size_bytes,
                on_progress=on_progress,
            )
            return verify(target, entry)
        except ModelError as error:
            failures.append(str(error))
    raise ModelError(
        " ".join(failures)
        or f"{entry.name}: no download address is known. Put {entry.file} into a folder named in "
        f"the environment variable {MODELS_ENV}."
    )


def find_model(
    model: str, *, allow_download: bool = True, on_progress: OnProgress | None = None
) -> VerifiedModel:
    """Get a verified model.

    Looked for in this order: ``model`` as a path; its file in the folders of ``DETECT_MODELS``; in
    the user's cache; a download; the most accurate other model present that needs no opt-in, with
    a ``notice`` that says so. A damaged file is passed over, never loaded. A path that was asked
    for is never replaced by something else.

    Raises
    ------
    ModelError
        If nothing fits: unknown name, bad path, or no verified model anywhere.
    """
    registry = load_registry()
    if looks_like_path(model):
        return _with_entry(verify(Path(model).expanduser()), registry)
    entry = get_entry(model, registry)
    try:
        return _find_local(entry) or _pull_if(allow_download, entry, on_progress)
    except ModelError as error:
        return _next_best(entry, registry, reason=str(error))


def looks_like_path(model: str) -> bool:
    """Whether the user means a file rather than a name of the registry."""
    return model.lower().endswith(".onnx") or "/" in model or os.sep in model


def get_entry(name: str, registry: dict[str, ModelEntry] | None = None) -> ModelEntry:
    """Look a name up.

    Raises
    ------
    ModelError
        If the registry has no such model.
    """
    registry = load_registry() if registry is None else registry
    if name in registry:
        return registry[name]
    close = difflib.get_close_matches(name, registry, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(registry)}."
    raise ModelError(f"no model is called {name!r}: {hint} A file is given with its .onnx ending.")


def _with_entry(model: VerifiedModel, registry: dict[str, ModelEntry]) -> VerifiedModel:
    """Recognise a registered file by its hash, wherever it lies and however it is called."""
    for entry in registry.values():
        if entry.sha256 == model.sha256:
            return replace(model, entry=entry)
    return model


def _find_local(entry: ModelEntry) -> VerifiedModel | None:
    for folder in model_folders():
        path = folder / entry.file
        if not path.exists():
            continue
        try:
            _require_inside(path, folder)
            return verify(path, entry)
        except ModelError as error:
            logger.warning("%s", error)
    return None


def _require_inside(path: Path, folder: Path) -> None:
    """Refuse a symbolic link that leads out of the folder the user named."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"{path}: is a link to {path.resolve()}, outside its folder. Copy the file instead, or "
            "give its real path."
        )


def _pull_if(
    allow_download: bool, entry: ModelEntry, on_progress: OnProgress | None
) -> VerifiedModel:
    if allow_download:
        return pull(entry, on_progress=on_progress)
    raise ModelError(f"{entry.name}: no good file is here, and downloads are off.")


def _next_best(
    wanted: ModelEntry, registry: dict[str, ModelEntry], *, reason: str
) -> VerifiedModel:
    others = [entry for entry in registry.values() if entry != wanted and not entry.opt_in]
    for entry in sorted(others, key=lambda entry: -(entry.measured_ap50_95 or 0)):
        found = _find_local(entry)
        if found is not None:
            return replace(found, notice=f"Using {entry.name} instead of {wanted.name}: {reason}")
    raise ModelError(
        f"{reason} No model that may be used instead is here either; a file can be put into a "
        f"folder named in the environment variable {MODELS_ENV}."
    )
