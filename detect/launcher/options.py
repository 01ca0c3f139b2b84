"""What ``detect up`` can be told."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from detect.config import (
    DEFAULT_JUPYTER_PORT,
    DEFAULT_LAN_PORT,
    DEFAULT_LOCAL_PORT,
    DEFAULT_MODEL,
)


def _detect_serve() -> tuple[str, ...]:
    return (sys.executable, "-m", "detect", "serve")


@dataclass(frozen=True, slots=True)
class UpOptions:
    """Options of ``detect up``; what concerns the media server is handed on to ``detect serve``.

    Attributes
    ----------
    model, family, score_threshold, threads, max_phones, engine_delay_ms
        For ``detect serve``; None leaves its default.
    ice_servers : tuple of str
        For ``detect serve``, each as ``--ice-server`` takes it.
    lan_port, local_port, jupyter_port : int
        Wanted ports; a taken one is replaced by the next free one, 0 takes any.
    public_url, cert, key : str or None, Path or None, Path or None
        For ``detect serve``.
    notebooks : Path or None
        Folder of the notebooks; None takes the shipped one, or a copy of it where that one is not
        for writing.
    offline : bool
        Never download a model.
    open_browser : bool
        Open the dashboard when it is ready.
    as_json : bool
        One machine-readable line on stdout, words on stderr.
    serve_command : tuple of str
        How the media server is started; tests put their own here.
    """

    model: str = DEFAULT_MODEL
    family: str | None = None
    score_threshold: float | None = None
    threads: int | None = None
    max_phones: int | None = None
    engine_delay_ms: float | None = None
    ice_servers: tuple[str, ...] = ()
    lan_port: int = DEFAULT_LAN_PORT
    local_port: int = DEFAULT_LOCAL_PORT
    jupyter_port: int = DEFAULT_JUPYTER_PORT
    public_url: str | None = None
    cert: Path | None = None
    key: Path | None = None
    notebooks: Path | None = None
    offline: bool = False
    open_browser: bool = True
    as_json: bool = False
    serve_command: tuple[str, ...] = field(default_factory=_detect_serve)

    def serve_arguments(self, *, lan_port: int, local_port: int) -> list[str]:
        """Command line of the media server on these ports.

        It holds no secret of ours; TURN credentials stand on it as they stood on ours.
        """
        arguments = [*self.serve_command, "--json", "--exit-with-stdin", "--model", self.model]
        optional: dict[str, object | None] = {
            "--lan-port": lan_port,
            "--local-port": local_port,
            "--family": self.family,
            "--score-threshold": self.score_threshold,
            "--threads": self.threads,
            "--max-phones": self.max_phones,
            "--engine-delay-ms": self.engine_delay_ms,
            "--public-url": self.public_url,
            "--cert": self.cert,
            "--key": self.key,
        }
        for name, value in optional.items():
            if value is not None:
                arguments += [name, str(value)]
        for server in self.ice_servers:
            arguments += ["--ice-server", server]
        return [*arguments, "--offline"] if self.offline else arguments
