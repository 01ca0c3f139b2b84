"""``detect serve``: the media server alone, without Jupyter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from detect.cli import options
from detect.config import DEFAULT_LAN_PORT, DEFAULT_LOCAL_PORT, DEFAULT_MODEL

if TYPE_CHECKING:
    from detect.config import IceServer


def serve(
    *,
    model: options.Model = DEFAULT_MODEL,
    family: options.Family = None,
    score_threshold: Annotated[float, options.SCORE_THRESHOLD] = 0.35,
    threads: Annotated[int, options.THREADS] = 1,
    lan_port: options.LanPort = DEFAULT_LAN_PORT,
    local_port: options.LocalPort = DEFAULT_LOCAL_PORT,
    public_url: options.PublicUrl = None,
    cert: options.Cert = None,
    key: options.Key = None,
    ice_server: options.IceServers = None,
    max_phones: Annotated[int, options.MAX_PHONES] = 10,
    offline: options.Offline = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one machine-readable line on stdout when ready."),
    ] = False,
    exit_with_stdin: Annotated[
        bool,
        typer.Option("--exit-with-stdin", help="End when standard input closes."),
    ] = False,
    engine_delay_ms: Annotated[float, options.ENGINE_DELAY_MS] = 0.0,
) -> None:
    """Run the media server alone: phones in, results out. Ctrl-C ends it.

    Dashboards and Prometheus use the loopback port with the access token, which comes from the
    environment variable DETECT_ACCESS_TOKEN or from a file only you can read.

    Examples: [bold]detect serve[/] · [bold]detect serve --model nanodet-m-320 --threads 2[/] ·
    [bold]detect serve --public-url https://example.ngrok.app[/]
    """
    from detect.config import DetectionSettings, ServerConfig
    from detect.server.process import read_access_token, run

    config = ServerConfig(
        access_token=read_access_token(),
        lan_port=lan_port,
        local_port=local_port,
        public_url=public_url,
        cert=cert,
        key=key,
        detection=DetectionSettings(model=model, score_threshold=score_threshold),
        family=family,
        allow_download=not offline,
        engine_threads=threads,
        engine_delay_ms=engine_delay_ms,
        ice_servers=tuple(parse_ice_server(each) for each in ice_server or ()),
        max_phones=max_phones,
    )
    run(config, as_json=as_json, exit_with_stdin=exit_with_stdin)


def parse_ice_server(text: str) -> IceServer:
    """Read ``stun:host:port`` or ``turn:user:password@host:port``; raises ``ConfigError``."""
    from detect.config import IceServer
    from detect.errors import ConfigError

    scheme, _, rest = text.partition(":")
    if scheme not in ("stun", "stuns", "turn", "turns") or not rest:
        raise ConfigError(
            "--ice-server: expected stun:host:port or turn:user:password@host:port, "
            f"got something that begins with {scheme[:12]!r}"
        )
    if not scheme.startswith("turn"):
        return IceServer(text)
    login, at, address = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if not (at and colon and user and password and address):
        raise ConfigError("--ice-server: a TURN server needs turn:user:password@host:port")
    return IceServer(f"{scheme}:{address}", user, password)
