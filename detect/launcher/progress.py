"""What ``detect up`` says while it works: each step, how long it took, and where to go next."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import segno
import typer
from rich.console import Console


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is, once it is ready; the fields of the machine-readable line.

    ``dashboard_url``, ``lab_url`` and ``pairing_url`` carry secrets.
    """

    dashboard_url: str = field(repr=False)
    lab_url: str = field(repr=False)
    phone_url: str
    pairing_url: str = field(repr=False)
    local_url: str
    lan_port: int
    local_port: int
    jupyter_port: int
    pids: dict[str, int]

    def to_json(self) -> str:
        """One line: ``{"event": "ready", …}``."""
        return json.dumps({"event": "ready", **asdict(self)})


class Progress:
    """Words for people on ``console``; the machine-readable line on stdout when asked for."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[list[str]]:
        """Show ``doing`` while the block runs, then ``done``, how long it took, and notes.

        The block may append words to the yielded list.
        """
        started_s = time.monotonic()
        notes: list[str] = []
        with self._console.status(f"{doing} …"):
            yield notes
        detail = f"  [dim]{', '.join(notes)}[/]" if notes else ""
        took_s = time.monotonic() - started_s
        self._console.print(f"[green]✓[/] {done} [dim]({took_s:.1f} s)[/]{detail}")

    def note(self, words: str) -> None:
        """Something the user should know."""
        self._console.print(f"[yellow]![/] {words}")

    def good(self, words: str) -> None:
        """Something went well."""
        self._console.print(f"[green]✓[/] {words}")

    def ready(self, addresses: Addresses) -> None:
        """Say where the dashboard is and how a phone gets in."""
        if self._as_json:
            typer.echo(addresses.to_json())
            return
        self._console.print()
        self._console.print("[bold]Scan with the phone's camera[/] (both in the same Wi-Fi):")
        self._show_code(addresses.pairing_url)
        self._line("Phone", addresses.pairing_url)
        self._line("Dashboard", addresses.dashboard_url)
        self._line("JupyterLab", addresses.lab_url)
        self._console.print(
            "\nThe phone warns about the certificate once: it was made on this computer. "
            "Choose “Advanced”, then “Proceed”.\n[dim]Ctrl-C ends everything.[/]"
        )

    def _line(self, what: str, url: str) -> None:
        # Never wrapped: a broken line cannot be clicked or copied.
        self._console.print(f"[bold]{what:<11}[/]", end="")
        self._console.print(url, soft_wrap=True, markup=False, highlight=False)

    def _show_code(self, url: str) -> None:
        buffer = io.StringIO()
        segno.make(url, error="l", micro=False).terminal(out=buffer, compact=True)
        try:
            self._console.file.write(buffer.getvalue())
            self._console.file.flush()
        except UnicodeEncodeError:  # an old Windows console without block characters
            self.note("this terminal cannot show a QR code: the dashboard shows it too")
