"""Fetch a file of known size and SHA-256: resumed after a break, never seen half-written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from detect.errors import ModelError

if TYPE_CHECKING:
    import httpx

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes had and the bytes wanted."""

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0  # silence, not duration: a slow line may take its time


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size_bytes: int,
    on_progress: OnProgress | None = None,
) -> None:
    """Fetch ``url`` into ``target``.

    Bytes go to ``<target>.part`` first; one that is already there is continued with a ``Range``
    request. Only a file of the right size and hash is renamed to ``target``, in one step. A
    resumed file with a wrong hash is fetched once more from its beginning.

    Raises
    ------
    ModelError
        If the server cannot be reached, breaks off, or sends something else than was promised.
    """
    part = target.with_name(target.name + ".part")
    is_resumed = part.is_file() and not part.is_symlink() and part.stat().st_size > 0
    try:
        _fetch(url, part, size_bytes, on_progress)
        _finish(url, part, target, sha256, size_bytes)
    except _WrongContentError as error:
        part.unlink(missing_ok=True)
        if not is_resumed:
            raise ModelError(str(error)) from None
        download(url, target, sha256=sha256, size_bytes=size_bytes, on_progress=on_progress)


class _WrongContentError(Exception):
    """What came is not what was promised."""


def _fetch(url: str, part: Path, size_bytes: int, on_progress: OnProgress | None) -> None:
    import httpx  # costs 0.1 s to import; most starts need no download

    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with _open_part(part) as file, httpx.Client(timeout=timeout, follow_redirects=True) as http:
            had = file.seek(0, os.SEEK_END)
            if had >= size_bytes:  # complete or wrong: the hash decides
                return
            headers = {"Accept-Encoding": "identity"}
            if had:
                headers["Range"] = f"bytes={had}-"
            with http.stream("GET", url, headers=headers) as response:
                _receive(response, file, size_bytes, on_progress)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ModelError(
            f"{url}: download failed ({reason}). Check the network and try again: it goes on where "
            "it stopped."
        ) from error
    except OSError as error:
        raise ModelError(f"{part}: cannot be written ({error.strerror}).") from error


def _open_part(part: Path) -> IO[bytes]:
    """Open for reading and appending; a symbolic link is not followed, so nothing else is hit."""
    part.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(part, flags, 0o644), "r+b")


def _receive(
    response: httpx.Response, file: IO[bytes], size_bytes: int, on_progress: OnProgress | None
) -> None:
    response.raise_for_status()
    if not _continues(response, file.tell()):
        file.seek(0)
        file.truncate()
    had = file.tell()
    for chunk in response.iter_raw():  # as it comes: a chunk held back is lost when it breaks
        had += len(chunk)
        if had > size_bytes:
            raise _WrongContentError(
                f"{response.url}: expected {size_bytes:,} bytes, the server sends more."
            )
        file.write(chunk)
        if on_progress is not None:
            on_progress(had, size_bytes)


def _continues(response: httpx.Response, had: int) -> bool:
    """Whether the answer goes on at byte ``had`` (RFC 9110 §15.3.7) or starts anew."""
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith(f"bytes {had}-")


def _finish(url: str, part: Path, target: Path, sha256: str, size_bytes: int) -> None:
    if not part.exists() and target.exists():
        return  # another process fetched the same file at the same time, and was first
    with part.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
        got_bytes = file.tell()
    if got_bytes < size_bytes:
        raise ModelError(
            f"{url}: broke off after {got_bytes:,} of {size_bytes:,} bytes. Try again: it goes on "
            "where it stopped."
        )
    if got != sha256:
        raise _WrongContentError(
            f"{url}: expected a file with SHA-256 {sha256}, got {got}. The file was discarded; "
            "do not use that source."
        )
    part.replace(target)
