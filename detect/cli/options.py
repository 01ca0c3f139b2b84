"""Options that several commands take: written once, so that help and bounds never differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

SCORE_THRESHOLD = typer.Option(help="Hide boxes below this score.", min=0.01, max=1)
THREADS = typer.Option(help="Threads of one inference.", min=1, max=256)
MAX_PHONES = typer.Option(help="Phones at once.", min=1, max=1000)
ENGINE_DELAY_MS = typer.Option(help="Make every inference slower (benchmarks).", min=0, max=10_000)
"""For parameters whose type or default differs from command to command."""

Model: TypeAlias = Annotated[
    str, typer.Option(help="Name (see `detect models list`) or ONNX file.")
]
Family: TypeAlias = Annotated[
    str | None, typer.Option(help="Decoder of an ONNX file that does not tell its own.")
]
LanPort: TypeAlias = Annotated[
    int, typer.Option(help="Port for phones; the next free one if taken.", min=0, max=65535)
]
LocalPort: TypeAlias = Annotated[
    int, typer.Option(help="The media server's own port, on loopback.", min=0, max=65535)
]
PublicUrl: TypeAlias = Annotated[
    str | None, typer.Option(help="https address of a tunnel (ngrok, cloudflared, tailscale).")
]
Cert: TypeAlias = Annotated[
    Path | None, typer.Option(help="Own TLS certificate (PEM).", exists=True, dir_okay=False)
]
Key: TypeAlias = Annotated[
    Path | None, typer.Option(help="Its private key (PEM).", exists=True, dir_okay=False)
]
IceServers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="STUN or TURN server: stun:host:port or turn:user:password@host:port. "
        "None is needed on a LAN."
    ),
]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Never download a model.")]
