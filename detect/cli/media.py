"""``detect image`` and ``detect video``: what a model sees in files."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detect.config import DEFAULT_MODEL, DetectionSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detect.types import Detections
    from detect.vision.media import VideoPicture, VideoWriter
    from detect.vision.pipeline import Pipeline

_DEFAULTS = DetectionSettings()
_LOST_FRAMES = 3
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_Model = Annotated[str, typer.Option("--model", "-m", help="Name in the zoo, or an ONNX file.")]
_Family = Annotated[
    str | None, typer.Option(help="Family of an ONNX file that does not tell its own.")
]
_Score = Annotated[float, typer.Option(min=0.01, max=1, help="Leave out boxes that score lower.")]
_Iou = Annotated[float, typer.Option(min=0, max=1, help="Overlap at which the weaker box goes.")]
_Threads = Annotated[int, typer.Option(min=0, max=256, help="Threads of inference; 0: all cores.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON line per picture, nothing else.")]


def image(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Pictures.")],
    model: _Model = DEFAULT_MODEL,
    family: _Family = None,
    score_threshold: _Score = _DEFAULTS.score_threshold,
    iou_threshold: _Iou = _DEFAULTS.iou_threshold,
    threads: _Threads = 0,
    save: Annotated[
        Path | None,
        typer.Option(help="Write pictures with boxes: a file for one picture, else a folder."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Find objects in pictures; show them as a table or --json, --save pictures with boxes."""
    from detect.vision.media import read_picture

    targets = _save_targets(files, save)
    pipeline = _load(model, family, threads)
    for file, target in zip(files, targets, strict=True):
        rgb = read_picture(file)
        found = pipeline(
            rgb, score_threshold=score_threshold, iou_threshold=iou_threshold
        ).detections
        names = pipeline.spec.class_names
        if as_json:
            size_wh = [rgb.shape[1], rgb.shape[0]]
            _echo_json(file=str(file), size_wh=size_wh, detections=_rows(found, names))
        else:
            _show_boxes(str(file), found, names)
        if target is not None:
            _save_picture(target, rgb, found, names)


def video(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video.")],
    model: _Model = DEFAULT_MODEL,
    family: _Family = None,
    score_threshold: _Score = _DEFAULTS.score_threshold,
    iou_threshold: _Iou = _DEFAULTS.iou_threshold,
    threads: _Threads = 0,
    every: Annotated[int, typer.Option(min=1, help="Look at every n-th frame only.")] = 1,
    save: Annotated[Path | None, typer.Option(help="Write an MP4 with boxes and tracks.")] = None,
    as_json: _Json = False,
) -> None:
    """Find and track objects in a video; show a summary or --json lines, --save an MP4."""
    from detect.cli.progress import frame_progress
    from detect.vision.media import open_video

    if save is not None and save.suffix.lower() != ".mp4":
        raise typer.BadParameter(f"expected a name ending in .mp4, got {save}", param_hint="--save")
    pipeline = _load(model, family, threads)
    with (
        closing(pipeline),
        open_video(file) as (info, pictures),
        frame_progress(file.name, info.n_frames) as on_progress,
        closing(_VideoJob(pipeline, info.frame_rate / every, save, as_json)) as job,
    ):
        for item in pictures:
            if item.index % every == 0:
                job.look(item, score_threshold, iou_threshold)
            on_progress(item.index + 1)
    if not as_json:
        job.show_summary(file)


class _VideoJob:
    """What is carried from frame to frame of one video."""

    def __init__(
        self, pipeline: Pipeline, frame_rate: Fraction, save: Path | None, as_json: bool
    ) -> None:
        from detect.vision.tracking import Tracker, TrackerSettings

        self._pipeline = pipeline
        self._frame_rate = frame_rate
        self._save = save
        self._as_json = as_json
        # Looked at every few seconds only, an object must still keep its number.
        lost_s = max(TrackerSettings().max_lost_s, float(_LOST_FRAMES / frame_rate))
        self._tracker = Tracker(TrackerSettings(max_lost_s=lost_s))
        self._writer: VideoWriter | None = None
        self._n_frames = 0
        self._n_boxes: Counter[str] = Counter()
        self._most_at_once: Counter[str] = Counter()
        self._tracks: dict[str, set[int]] = {}

    def look(self, item: VideoPicture, score_threshold: float, iou_threshold: float) -> None:
        names = self._pipeline.spec.class_names
        found = self._pipeline(
            item.picture, score_threshold=score_threshold, iou_threshold=iou_threshold
        ).detections
        found = self._tracker.update(found, round(item.time_s * 1e9))
        self._count(found, names)
        if self._as_json:
            rows = _rows(found, names)
            _echo_json(frame=item.index, time_s=round(item.time_s, 4), detections=rows)
        if self._save is not None:
            self._write(item, found, self._save)

    def _count(self, found: Detections, names: tuple[str, ...]) -> None:
        self._n_frames += 1
        labels = [names[class_id] for class_id in found.class_id]
        now = Counter(labels)
        self._n_boxes += now
        self._most_at_once |= now
        for label, track_id in zip(labels, found.track_id.tolist(), strict=True):
            self._tracks.setdefault(label, set()).add(track_id)

    def _write(self, item: VideoPicture, found: Detections, save: Path) -> None:
        from detect.vision.annotate import draw_detections
        from detect.vision.media import VideoWriter
        from detect.vision.preprocess import to_rgb

        rgb = to_rgb(item.picture)
        if self._writer is None:
            self._writer = VideoWriter(save, (rgb.shape[1], rgb.shape[0]), self._frame_rate)
        self._writer.write(draw_detections(rgb, found, self._pipeline.spec.class_names))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def show_summary(self, file: Path) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(f"{file}: {self._n_frames} frames looked at"))
        for heading in ("class", "boxes", "most at once", "tracks"):
            table.add_column(heading, justify="left" if heading == "class" else "right")
        for label, n_boxes in self._n_boxes.most_common():
            most, tracks = self._most_at_once[label], len(self._tracks[label])
            table.add_row(escape(label), str(n_boxes), str(most), str(tracks))
        Console().print(table)


def _load(model: str, family: str | None, threads: int) -> Pipeline:
    from detect.cli.progress import download_progress
    from detect.vision.pipeline import load_pipeline

    with download_progress(model) as on_progress:
        pipeline = load_pipeline(
            model, family=family, threads=threads or os.cpu_count() or 1, on_progress=on_progress
        )
    if pipeline.notice:
        typer.secho(pipeline.notice, fg=typer.colors.YELLOW, err=True)
    return pipeline


def _save_targets(files: list[Path], save: Path | None) -> list[Path | None]:
    """Where each picture goes; refused when two would get the same name or one its own."""
    if save is None:
        return [None] * len(files)
    is_file = save.suffix.lower() in _PICTURE_ENDINGS and not save.is_dir()
    if is_file and len(files) > 1:
        raise typer.BadParameter("expected a folder for several pictures", param_hint="--save")
    targets = [save if is_file else save / file.name for file in files]
    if len({target.resolve() for target in targets}) < len(targets):
        raise typer.BadParameter("two pictures have the same name", param_hint="--save")
    if any(a.resolve() == b.resolve() for a, b in zip(files, targets, strict=True)):
        raise typer.BadParameter("would overwrite the picture itself", param_hint="--save")
    return list(targets)


def _save_picture(
    target: Path, rgb: NDArray[np.uint8], found: Detections, names: tuple[str, ...]
) -> None:
    from detect.vision.annotate import draw_detections
    from detect.vision.media import write_picture

    write_picture(target, draw_detections(rgb, found, names))
    typer.echo(f"saved {target}", err=True)


def _rows(found: Detections, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "class": names[class_id],
            "class_id": class_id,
            "score": round(score, 4),
            "xyxy_px": [round(side, 1) for side in xyxy],
            **({"track_id": track_id} if track_id > 0 else {}),
        }
        for xyxy, score, class_id, track_id in zip(
            found.xyxy_px.tolist(),
            found.score.tolist(),
            found.class_id.tolist(),
            found.track_id.tolist(),
            strict=True,
        )
    ]


def _echo_json(**values: Any) -> None:  # noqa: ANN401 - JSON
    typer.echo(json.dumps(values))


def _show_boxes(title: str, found: Detections, names: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{title}: {len(found)} objects"))
    for heading in ("class", "score", "x1", "y1", "x2", "y2"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for row in _rows(found, names):
        sides = [f"{side:.0f}" for side in row["xyxy_px"]]
        table.add_row(escape(row["class"]), f"{row['score']:.2f}", *sides)
    Console().print(table)
