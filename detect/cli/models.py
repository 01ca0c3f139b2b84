"""``detect models``: what the zoo knows, has, and can fetch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detect.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from detect.zoo import ModelEntry, VerifiedModel

models_app = typer.Typer(no_args_is_help=True, help="List, fetch and verify detection models.")

EXIT_BAD_MODEL = 1

_Json = Annotated[bool, typer.Option("--json", help="Machine-readable, one JSON line.")]


@models_app.command("list")
def list_models(as_json: _Json = False) -> None:
    """List the models of the registry and whether they are here."""
    from detect.zoo import load_registry

    rows = [_row(entry) for entry in load_registry().values()]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        _show_table(rows)


def _row(entry: ModelEntry) -> dict[str, Any]:
    from detect.zoo import local_file

    path = local_file(entry)
    return {
        "name": entry.name,
        "family": entry.family,
        "input_wh": list(entry.input_wh),
        "licence": entry.licence,
        "size_bytes": entry.size_bytes,
        "measured_ap50_95": entry.measured_ap50_95,
        "published_ap50_95": entry.published_ap50_95,
        "opt_in": entry.opt_in,
        "is_default": entry.name == DEFAULT_MODEL,
        "is_available": path is not None,
        "path": None if path is None else str(path),
        "can_download": bool(entry.urls),
    }


def _show_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Models", caption="AP: AP50-95 on the tests' photographs; *: the default")
    for heading in ("name", "family", "input", "AP", "MB", "licence", "here"):
        justify: Literal["left", "right"] = "right" if heading in ("AP", "MB") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading == "name")
    for row in rows:
        table.add_row(
            row["name"] + ("*" if row["is_default"] else ""),
            row["family"],
            "x".join(map(str, row["input_wh"])),
            _figure(row["measured_ap50_95"]),
            f"{row['size_bytes'] / 1e6:.1f}",
            row["licence"] + (" (opt-in)" if row["opt_in"] else ""),
            _whereabouts(row),
        )
    Console().print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _whereabouts(row: dict[str, Any]) -> str:
    if row["is_available"]:
        return "[green]yes[/]"
    return "can be pulled" if row["can_download"] else "bring the file"


@models_app.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Names; none: the default, {DEFAULT_MODEL}.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Download models into the cache, resumed where a download broke off, and verify them."""
    from detect.cli.progress import download_progress
    from detect.zoo import get_entry
    from detect.zoo import pull as pull_model

    pulled = []
    for name in names or [DEFAULT_MODEL]:
        entry = get_entry(name)
        with download_progress(name) as on_progress:
            pulled.append(pull_model(entry, on_progress=on_progress))
    _report(pulled, [], as_json)


@models_app.command()
def verify(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or ONNX files; none: every model here.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Hash model files and look into them; exit code 1 if one is not what it should be."""
    from detect.errors import ModelError

    good: list[VerifiedModel] = []
    bad: list[str] = []
    for model in models or _names_here():
        try:
            good.append(_verify_one(model))
        except ModelError as error:
            bad.append(str(error))
    _report(good, bad, as_json)
    if bad:
        raise typer.Exit(EXIT_BAD_MODEL)


def _names_here() -> list[str]:
    from detect.zoo import load_registry, local_file

    return [name for name, entry in load_registry().items() if local_file(entry) is not None]


def _verify_one(model: str) -> VerifiedModel:
    from detect.errors import ModelError
    from detect.zoo import find_file, find_model, get_entry, looks_like_path
    from detect.zoo import verify as verify_file

    if looks_like_path(model):
        return find_model(model)
    entry = get_entry(model)
    path = find_file(entry)
    if path is None:
        raise ModelError(f"{model}: no file is here. Get it with `detect models pull {model}`.")
    return verify_file(path, entry)


def _report(good: list[VerifiedModel], bad: list[str], as_json: bool) -> None:
    if as_json:
        rows: list[dict[str, Any]] = [_verified_row(model) for model in good]
        typer.echo(json.dumps(rows + [{"ok": False, "error": error} for error in bad]))
        return
    for model in good:
        name = model.entry.name if model.entry else model.path.name
        typer.secho(f"ok  {name}  {model.sha256[:16]}…  {model.path}", fg=typer.colors.GREEN)
    for error in bad:
        typer.secho(f"bad  {error}", fg=typer.colors.RED, err=True)
    if not good and not bad:
        typer.echo("No model is here. Get the default one with `detect models pull`.")


def _verified_row(model: VerifiedModel) -> dict[str, Any]:
    return {
        "ok": True,
        "name": model.entry.name if model.entry else None,
        "path": str(Path(model.path).absolute()),
        "sha256": model.sha256,
        "size_bytes": len(model.content),
    }
