"""Starts the media server and the Jupyter server, watches them, and ends them together.

Importing this package is cheap; :func:`up` brings in what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detect.launcher.options import UpOptions

__all__ = ["up"]


def up(options: UpOptions) -> None:
    """Run the media server and the Jupyter server until a signal ends them.

    Raises
    ------
    detect.errors.ServerError
        When one of them does not start, or ends and cannot be brought back; the text holds the
        end of its log.
    """
    from detect.launcher.supervisor import run

    run(options)
