"""``python -m bench``: measure, show a summary, store the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Benchmarks of the real path: real Chromium phone, real server, real dashboard."""


@app.command()
def latency(
    output: Annotated[Path, typer.Option(help="Where the result is stored (JSON).")],
    duration: Annotated[float, typer.Option(help="Measured seconds.")] = 60.0,
    warmup: Annotated[float, typer.Option(help="Seconds thrown away first.")] = 15.0,
    clip: Annotated[Path | None, typer.Option(help="Video the phone films.")] = None,
    model: Annotated[str, typer.Option(help="Model in server mode.")] = "yolox-nano",
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    engine_delay_ms: Annotated[float, typer.Option(help="Slow the detector by this.")] = 0.0,
) -> None:
    """Drawn on the phone → drawn with boxes on the dashboard, read from the pixels."""
    from bench.latency import LatencySettings, run

    settings = LatencySettings(
        duration_s=duration,
        warmup_s=warmup,
        clip=clip,
        model=model,
        threads=threads,
        engine_delay_ms=engine_delay_ms,
    )
    result = run(settings, _progress)
    _store(result, output, ("n", "drop_rate", "shown_fps", "latency_ms", "server"))


@app.command()
def startup(
    output: Annotated[Path, typer.Option(help="Where the result is stored (JSON).")],
    n: Annotated[int, typer.Option(help="How many starts.", min=1)] = 5,
) -> None:
    """Start command → dashboard with its pairing code on the screen."""
    from bench.startup import run

    _store(run(n, _progress), output, ("servers_ready_s", "page_usable_s", "total_s"))


def _progress(text: str) -> None:
    typer.echo(f"… {text}", err=True)


def _store(result: dict[str, Any], output: Path, shown: tuple[str, ...]) -> None:
    """Write the whole result; show the part that matters."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps({key: result[key] for key in shown}, indent=1))


if __name__ == "__main__":
    app()
