"""The ``detect`` command: its sub-commands, and how errors reach the user.

Sub-commands import what is heavy inside their functions, so that ``detect --help`` answers at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

import typer

from detect.cli.doctor import doctor
from detect.cli.media import image, video
from detect.cli.models import models_app
from detect.cli.serve import serve
from detect.cli.up import up
from detect.errors import DetectError

EXIT_ERROR = 2

app = typer.Typer(
    name="detect",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Examples: [bold]detect up[/] · [bold]detect doctor[/] · "
        "[bold]detect image photo.jpg --save out.jpg[/] · [bold]detect models list[/]"
    ),
)
app.command()(up)
app.command()(serve)
app.command()(doctor)
app.command()(image)
app.command()(video)
app.add_typer(models_app, name="models")


@dataclass(slots=True)
class _Shared:
    """What options before the sub-command decide."""

    shows_traceback: bool = False


def _show_version(value: bool) -> None:
    if value:
        from detect.version import package_version

        typer.echo(f"detect {package_version()}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and debug messages.")
    ] = False,
) -> None:
    """Scan a QR code with a phone: a dashboard shows what a model sees in its picture, live.

    Start with [bold]detect up[/]. When something does not work, ask [bold]detect doctor[/].
    """
    if debug:
        logging.basicConfig(level=logging.DEBUG)
        if isinstance(context.obj, _Shared):
            context.obj.shows_traceback = True


def main() -> None:
    """Run the command line; an error the user can act on is one clear line and exit code 2."""
    shared = _Shared()
    try:
        app(obj=shared)
    except DetectError as error:
        if shared.shows_traceback:
            raise
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(EXIT_ERROR) from None
