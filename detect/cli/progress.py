"""Progress bars on standard error, so that standard output stays clean for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def download_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Bar that appears with the first byte; call what it gives with bytes had and bytes wanted."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"fetching {title}", total=None, visible=False)
        yield lambda had, wanted: progress.update(task, completed=had, total=wanted, visible=True)


@contextmanager
def frame_progress(title: str, n_frames: int | None) -> Iterator[Callable[[int], None]]:
    """Bar over the frames of a video; call what it gives with the number of frames done."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn

    columns = (SpinnerColumn(), *Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=n_frames)
        yield lambda done: progress.update(task, completed=done)
