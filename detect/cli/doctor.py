"""``detect doctor``: what was found on this machine, what blocks, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detect.config import (
    DEFAULT_JUPYTER_PORT,
    DEFAULT_LAN_PORT,
    DEFAULT_LOCAL_PORT,
    DEFAULT_MODEL,
    cache_dir,
    data_dir,
)
from detect.errors import DetectError

if TYPE_CHECKING:
    from detect.mode import ModeChoice

EXIT_BLOCKED = 1


class State(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` is empty where nothing has to be done."""

    name: str
    value: str
    state: State = State.OK
    advice: str = ""


def doctor(
    *,
    model: Annotated[str, typer.Option(help="The model that shall run.")] = DEFAULT_MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Look at this machine: what is there, what blocks, what to do. Exit code 1 when blocked."""
    findings = examine(model)
    choice = _mode_choice(findings)
    if as_json:
        _print_json(findings, choice)
    else:
        _print_table(findings, choice)
    if any(finding.state is State.BLOCKS for finding in findings):
        raise typer.Exit(EXIT_BLOCKED)


def examine(model: str) -> list[Finding]:
    """Look at everything; a look that fails is a finding, never an exception."""
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("platform", _platform),
        ("cores", _cores),
        ("memory", _memory),
        ("model", lambda: _model(model)),
        ("port for phones", lambda: _port("port for phones", "0.0.0.0", DEFAULT_LAN_PORT)),
        ("port of media server", lambda: _port("port of media server", "", DEFAULT_LOCAL_PORT)),
        ("port of dashboard", lambda: _port("port of dashboard", "", DEFAULT_JUPYTER_PORT)),
        ("lan addresses", _lan_addresses),
        ("onnxruntime", _onnxruntime),
        ("browser", _browser),
        ("node", _node),
        ("jupyter", _jupyter),
        ("front-end", _front_end),
        ("data folder", lambda: _writable("data folder", data_dir)),
        ("cache folder", lambda: _writable("cache folder", cache_dir)),
    ]
    return [_guarded(name, look) for name, look in looks]


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # a sick machine is exactly what doctor is for
        return Finding(name, f"{type(error).__name__}: {error}", State.BLOCKS, _REINSTALL)


_REINSTALL = "Install the package again: pip install --force-reinstall ."


def _python() -> Finding:
    from detect.mode import MIN_PYTHON

    words = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] >= MIN_PYTHON:
        return Finding("python", words)
    return Finding("python", words, State.BLOCKS, "Install Python 3.11, 3.12 or 3.13.")


def _platform() -> Finding:
    return Finding("platform", platform.platform())


def _cores() -> Finding:
    from detect.mode import MIN_CORES, usable_cores

    n_cores = usable_cores()
    if n_cores >= MIN_CORES:
        return Finding("cores", str(n_cores))
    return Finding("cores", str(n_cores), State.NOTE, "Close other programs while the camera runs.")


def _memory() -> Finding:
    import psutil

    from detect.mode import MIN_MEMORY_BYTES

    memory = psutil.virtual_memory()
    words = f"{memory.total / 2**30:.1f} GB, {memory.available / 2**30:.1f} GB free"
    if memory.total >= MIN_MEMORY_BYTES:
        return Finding("memory", words)
    return Finding("memory", words, State.NOTE, "Little memory: keep one dashboard page open.")


def _model(model: str) -> Finding:
    from detect.zoo import find_model

    try:
        found = find_model(model, allow_download=False)
    except DetectError as error:
        return Finding("model", str(error), State.NOTE, f"Get it: detect models pull {model}")
    if found.notice:
        return Finding("model", found.notice, State.NOTE, f"Get it: detect models pull {model}")
    return Finding("model", f"{model} ({found.path})")


def _port(name: str, host: str, port: int) -> Finding:
    from detect.server.ports import bind_port

    bound = bind_port(host or "127.0.0.1", port, what=name)
    bound.socket.close()
    if bound.notice is None:
        return Finding(name, f"{port} is free")
    return Finding(name, bound.notice, State.NOTE, "Nothing to do: the next free port is used.")


def _lan_addresses() -> Finding:
    from detect.server.addresses import lan_addresses

    if addresses := lan_addresses():
        return Finding("lan addresses", ", ".join(addresses))
    return Finding(
        "lan addresses", "none", State.NOTE, "Join the Wi-Fi the phone is in, or use a tunnel."
    )


def _onnxruntime() -> Finding:
    import onnxruntime

    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    )
    return Finding("onnxruntime", f"{onnxruntime.__version__} ({providers})")


def _browser() -> Finding:
    from detect.launcher.browser import find_chromium

    if path := find_chromium():
        return Finding("browser", path)
    return Finding(
        "browser", "no Chromium found", State.NOTE, "Any browser will do; tests need Chromium."
    )


def _node() -> Finding:
    tools = {name: shutil.which(name) for name in ("node", "npm")}
    if all(tools.values()):
        return Finding("node", ", ".join(filter(None, tools.values())))
    return Finding("node", "not found: the build brings its own")


def _jupyter() -> Finding:
    names = ("jupyter-server", "voila", "jupyterlab", "jupyter-server-proxy")
    try:
        return Finding("jupyter", ", ".join(f"{name} {version(name)}" for name in names))
    except PackageNotFoundError as error:
        return Finding("jupyter", f"{error.name} is missing", State.BLOCKS, _REINSTALL)


def _front_end() -> Finding:
    static = Path(__file__).parents[1] / "static"
    if (static / "assets.json").is_file():
        return Finding("front-end", f"built ({static})")
    return Finding(
        "front-end",
        "not built",
        State.BLOCKS,
        "Build it: pip install . (in a checkout: npm ci && npm run build in detect/frontend)",
    )


def _writable(name: str, folder: Callable[[], Path]) -> Finding:
    """Try to write; ``folder`` makes the directory."""
    advice = "Make it writable, or point DETECT_HOME to a folder that is."
    try:
        path = folder()
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding(name, str(error), State.BLOCKS, advice)
    return Finding(name, str(path))


def _mode_choice(findings: list[Finding]) -> ModeChoice:
    """Score from what was found."""
    from detect.mode import choose_mode, probe_machine

    states = {finding.name: finding.state for finding in findings}
    return choose_mode(
        probe_machine(
            is_port_free=states["port for phones"] is State.OK,
            has_model=states["model"] is State.OK,
        )
    )


def _print_json(findings: list[Finding], choice: ModeChoice) -> None:
    is_blocked = any(finding.state is State.BLOCKS for finding in findings)
    report = {
        "is_blocked": is_blocked,
        "mode": asdict(choice),
        "findings": [asdict(finding) for finding in findings],
    }
    typer.echo(json.dumps(report, indent=1))


def _print_table(findings: list[Finding], choice: ModeChoice) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    marks = {State.OK: "[green]✓[/]", State.NOTE: "[yellow]![/]", State.BLOCKS: "[red]✗[/]"}
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        table.add_row(marks[finding.state], finding.name, escape(finding.value))
    console = Console()
    console.print(table)
    console.print(f"\n[bold]Environment score: {choice.score} of 100[/] → {choice.chosen} mode")
    for reason in choice.reasons:
        console.print(f"  {reason}", highlight=False)
    if advice := [finding for finding in findings if finding.advice]:
        console.print("\n[bold]Advice[/]")
        for finding in advice:
            console.print(f"  {marks[finding.state]} {finding.name}: {escape(finding.advice)}")
