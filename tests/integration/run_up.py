"""`detect up` with the small media server: `python run_up.py NOTEBOOKS [--fail] [--port N]`."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from detect.errors import DetectError
from detect.launcher import up
from detect.launcher.options import UpOptions


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("notebooks", type=Path)
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--opens", type=Path, help="Write the address to open into this file.")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    server = Path(__file__).with_name("small_media_server.py")
    command = (sys.executable, str(server), *(["--fail"] if arguments.fail else []))
    if arguments.opens is not None:
        webbrowser.open = lambda url, *_: bool(arguments.opens.write_text(url))
    try:
        up(
            UpOptions(
                lan_port=0,
                local_port=0,
                jupyter_port=arguments.port,
                notebooks=arguments.notebooks,
                open_browser=arguments.opens is not None,
                as_json=True,
                serve_command=command,
            )
        )
    except DetectError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
