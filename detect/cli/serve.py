"""``detect serve``: the media server alone, without Jupyter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detect.config import DEFAULT_LAN_PORT, DEFAULT_LOCAL_PORT, DEFAULT_MODEL

if TYPE_CHECKING:
    from detect.config import IceServer


def serve(
    *,
    model: Annotated[
        str, typer.Option(help="Name (see `detect models list`) or ONNX file.")
    ] = DEFAULT_MODEL,
    family: Annotated[
        str | None, typer.Option(help="Decoder of an ONNX file that does not tell its own.")
    ] = None,
    score_threshold: Annotated[
        float, typer.Option(help="Hide boxes below this score.", min=0.01, max=1)
    ] = 0.35,
    threads: Annotated[int, typer.Option(help="Threads of one inference.", min=1, max=256)] = 1,
    lan_port: Annotated[
        int, typer.Option(help="Port for phones; the next free one if taken.", min=0, max=65535)
    ] = DEFAULT_LAN_PORT,
    local_port: Annotated[
        int, typer.Option(help="Port on loopback for dashboards.", min=0, max=65535)
    ] = DEFAULT_LOCAL_PORT,
    public_url: Annotated[
        str | None,
        typer.Option(help="https address of a tunnel (ngrok, cloudflared, tailscale)."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(help="Own TLS certificate (PEM).", exists=True, dir_okay=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its private key (PEM).", exists=True, dir_okay=False)
    ] = None,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(
            help="STUN or TURN server: stun:host:port or turn:user:password@host:port. "
            "None is needed on a LAN.",
        ),
    ] = None,
    max_phones: Annotated[int, typer.Option(help="Phones at once.", min=1, max=1000)] = 10,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a model.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one machine-readable line on stdout when ready."),
    ] = False,
    exit_with_stdin: Annotated[
        bool,
        typer.Option("--exit-with-stdin", help="End when standard input closes."),
    ] = False,
    engine_delay_ms: Annotated[
        float,
        typer.Option(help="Make every inference slower (benchmarks).", min=0, max=10_000),
    ] = 0.0,
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
