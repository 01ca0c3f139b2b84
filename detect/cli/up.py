"""``detect up``: everything for the dashboard, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detect.cli import options
from detect.config import (
    DEFAULT_JUPYTER_PORT,
    DEFAULT_LAN_PORT,
    DEFAULT_LOCAL_PORT,
    DEFAULT_MODEL,
)


def up(
    *,
    model: options.Model = DEFAULT_MODEL,
    family: options.Family = None,
    score_threshold: Annotated[float | None, options.SCORE_THRESHOLD] = None,
    threads: Annotated[int | None, options.THREADS] = None,
    max_phones: Annotated[int | None, options.MAX_PHONES] = None,
    ice_server: options.IceServers = None,
    lan_port: options.LanPort = DEFAULT_LAN_PORT,
    local_port: options.LocalPort = DEFAULT_LOCAL_PORT,
    jupyter_port: Annotated[
        int, typer.Option(help="Port of dashboard and JupyterLab.", min=0, max=65535)
    ] = DEFAULT_JUPYTER_PORT,
    public_url: options.PublicUrl = None,
    cert: options.Cert = None,
    key: options.Key = None,
    notebooks: Annotated[
        Path | None, typer.Option(help="Folder for the notebooks.", file_okay=False)
    ] = None,
    offline: options.Offline = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the dashboard.")
    ] = True,
    engine_delay_ms: Annotated[float | None, options.ENGINE_DELAY_MS] = None,
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
