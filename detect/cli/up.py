"""``detect up``: everything for the dashboard, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detect.config import (
    DEFAULT_JUPYTER_PORT,
    DEFAULT_LAN_PORT,
    DEFAULT_LOCAL_PORT,
    DEFAULT_MODEL,
)


def up(
    *,
    model: Annotated[
        str, typer.Option(help="Name (see `detect models list`) or ONNX file.")
    ] = DEFAULT_MODEL,
    family: Annotated[
        str | None, typer.Option(help="Decoder of an ONNX file that does not tell its own.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="Hide boxes below this score.", min=0.01, max=1)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of one inference.", min=1, max=256)
    ] = None,
    max_phones: Annotated[int | None, typer.Option(help="Phones at once.", min=1, max=1000)] = None,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(help="stun:host:port or turn:user:password@host…; none is needed on a LAN."),
    ] = None,
    lan_port: Annotated[
        int, typer.Option(help="Port for phones; the next free one if taken.", min=0, max=65535)
    ] = DEFAULT_LAN_PORT,
    local_port: Annotated[
        int, typer.Option(help="The media server's own port.", min=0, max=65535)
    ] = DEFAULT_LOCAL_PORT,
    jupyter_port: Annotated[
        int, typer.Option(help="Port of dashboard and JupyterLab.", min=0, max=65535)
    ] = DEFAULT_JUPYTER_PORT,
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
    notebooks: Annotated[
        Path | None, typer.Option(help="Folder for the notebooks.", file_okay=False)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a model.")] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the dashboard.")
    ] = True,
    engine_delay_ms: Annotated[
        float | None,
        typer.Option(help="Make every inference slower (benchmarks).", min=0, max=10_000),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one machine-readable line when ready; words go to stderr."
        ),
    ] = False,
) -> None:
    """Start everything: media server, dashboard, JupyterLab. Ctrl-C ends it all.

    Prints a QR code for the phone and opens the dashboard in the browser.

    Examples: [bold]detect up[/] · [bold]detect up --model nanodet-m-320 --threads 2[/] ·
    [bold]detect up --public-url https://example.ngrok.app[/]
    """
    from detect.launcher import up as start_everything
    from detect.launcher.options import UpOptions

    start_everything(
        UpOptions(
            model=model,
            family=family,
            score_threshold=score_threshold,
            max_phones=max_phones,
            engine_delay_ms=engine_delay_ms,
            ice_servers=tuple(ice_server or ()),
            threads=threads,
            lan_port=lan_port,
            local_port=local_port,
            jupyter_port=jupyter_port,
            public_url=public_url,
            cert=cert,
            key=key,
            notebooks=notebooks,
            offline=offline,
            open_browser=browser,
            as_json=as_json,
        )
    )
