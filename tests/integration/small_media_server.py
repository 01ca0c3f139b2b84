"""A media server small enough to start in a moment: what `detect serve` owes `up`.

It prints the ready line, answers on its loopback port (with what it was asked, so that a test sees
the headers a proxy adds) and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lan-port", type=int)
    parser.add_argument("--local-port", type=int)
    parser.add_argument("--fail", action="store_true")
    arguments, _ = parser.parse_known_args()
    if arguments.fail:
        sys.stderr.write("the engine is on fire\n")
        raise SystemExit(3)
    assert os.environ["DETECT_ACCESS_TOKEN"]
    server = ThreadingHTTPServer(("127.0.0.1", arguments.local_port), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = {
        "event": "ready",
        "pid": os.getpid(),
        "local_url": f"http://127.0.0.1:{arguments.local_port}",
        "phone_url": f"https://192.0.2.7:{arguments.lan_port}",
        "pairing_url": f"https://192.0.2.7:{arguments.lan_port}/#one-time",
        "lan_port": arguments.lan_port,
        "local_port": arguments.local_port,
        "lan_addresses": ["192.0.2.7"],
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    while os.read(0, 1024):
        pass


if __name__ == "__main__":
    main()
