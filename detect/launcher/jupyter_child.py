"""The Jupyter server as a child of ``detect up``: ``python -m detect.launcher.jupyter_child``.

Standard input is both the way in for the configuration (one line of JSON, which holds secrets) and
the life line: it stays open as long as the parent lives. When it closes, however the parent ended,
the server shuts its kernels down and goes; what has not gone after :data:`PATIENCE_S` is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import warnings
from typing import Any

PATIENCE_S = 1.0
"""Everything has to be gone within 2 s of the parent."""


def main() -> None:
    """Read the configuration, then serve until the parent is gone or says stop."""
    config = json.loads(sys.stdin.buffer.readline())
    done = threading.Event()
    threading.Thread(
        target=_end_with_parent, args=(done,), name="detect-parent-watch", daemon=True
    ).start()
    try:
        serve(config)
    finally:
        done.set()
        remove_runtime_dir()


def serve(config: dict[str, Any]) -> None:
    """Run a Jupyter server with exactly this configuration."""
    from jupyter_server.serverapp import ServerApp
    from jupyter_server.utils import JupyterServerAuthWarning
    from traitlets.config import Config

    # With allow_unauthenticated_access off, handlers that forgot to ask for a user refuse instead;
    # naming forty of them in the log at every start helps nobody.
    warnings.simplefilter("ignore", JupyterServerAuthWarning)

    class DetectServerApp(ServerApp):
        """A Jupyter server that heeds no configuration but ours.

        A password, a port or an extension from the user's own Jupyter configuration would break
        addresses that were handed out already.
        """

        # The parent class of ServerApp narrows the signature of its own parent as well.
        def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]
            """Read no files."""

        def find_server_extensions(self) -> None:
            """Look for no further extensions."""

    DetectServerApp.launch_instance(argv=[], config=Config(config))


def _end_with_parent(done: threading.Event) -> None:
    """Wait until standard input closes, then end this process and its kernels."""
    while os.read(0, 4096):
        pass  # nothing more is said on it
    if sys.platform != "win32":  # there this would be a kill, with the kernels left behind
        os.kill(os.getpid(), signal.SIGTERM)
        done.wait(PATIENCE_S)
    kill_descendants()
    remove_runtime_dir()
    os._exit(0)


def kill_descendants() -> None:
    """Kill every process below this one."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def remove_runtime_dir() -> None:
    """Remove connection files and whatever else Jupyter keeps while it runs."""
    if path := os.environ.get("JUPYTER_RUNTIME_DIR"):
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
