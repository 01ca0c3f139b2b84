"""Frame drawn on the phone → same frame with its boxes drawn on the dashboard.

The final number is the median, 95th and 99th percentile of that time over every frame the dashboard
drew after the warm-up, read from the pixels (``frame_code``), with the drop rate beside it: frames
are sent at the camera's rate whether or not the system keeps up. Both browsers run on this machine,
so one clock serves both ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from bench.browsers import Browsers
from bench.clips import packed_frames
from bench.metadata import collect
from bench.product import ResourceMeter, running_product
from bench.stats import percentiles, window_medians

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

DRIFT_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """One run.

    Attributes
    ----------
    duration_s, warmup_s : float
        Measured time, and the time before it that is thrown away (connection, bandwidth estimate).
    clip : Path or None
        What the phone films; None: a moving pattern.
    size_wh, fps : tuple of int, float
        The phone's camera.
    model, threads, engine_delay_ms : str, int, float
        Passed to ``detect up``.
    """

    duration_s: float = 60.0
    warmup_s: float = 15.0
    clip: Path | None = None
    size_wh: tuple[int, int] = (640, 480)
    fps: float = 30.0
    model: str = "yolox-nano"
    threads: int = 1
    engine_delay_ms: float = 0.0
    n_clip_frames: int = 120


def run(settings: LatencySettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure; return the result as stored."""
    progress("reading the clip")
    clip_bytes = packed_frames(
        settings.clip, settings.size_wh, n_frames=settings.n_clip_frames, step=3
    )
    options = ["--model", settings.model, "--threads", str(settings.threads)]
    if settings.engine_delay_ms:
        options += ["--engine-delay-ms", str(settings.engine_delay_ms)]
    progress("starting the product")
    with (
        running_product(*options) as ready,
        Browsers(size_wh=settings.size_wh, fps=settings.fps, clip_bytes=clip_bytes) as browsers,
    ):
        metadata = collect(browsers.version)
        progress(f"product ready after {ready['start_s']} s; opening dashboard and phone")
        dashboard = browsers.open_dashboard(ready["dashboard_url"])
        phone = browsers.open_phone(ready["pairing_url"])
        dashboard.wait_for_function("window.__benchReadings.length > 0", timeout=60_000)
        progress(f"live; warming up for {settings.warmup_s:.0f} s")
        dashboard.wait_for_timeout(settings.warmup_s * 1000)
        measured = _measure(dashboard, phone, ready, settings, progress)
    return {
        "format": 1,
        "benchmark": "latency",
        "metadata": metadata,
        "settings": _as_json(settings),
        "start_s": ready["start_s"],
        **measured,
    }


def _measure(
    dashboard: Page,
    phone: Page,
    ready: dict[str, Any],
    settings: LatencySettings,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    server = ResourceMeter(ready["pids"]["media_server"])
    everything = ResourceMeter(ready["up_pid"])
    first = dashboard.evaluate("window.__benchReadings.length")
    drawn_before = phone.evaluate("window.__benchFramesDrawn")
    rss_before = server.read()["rss_mib"]
    started = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started) < settings.duration_s:
        dashboard.wait_for_timeout(min(5.0, settings.duration_s - elapsed_s + 0.01) * 1000)
        progress(f"measuring: {min(elapsed_s, settings.duration_s):.0f} s")
    readings = dashboard.evaluate(f"window.__benchReadings.slice({first})")
    n_camera = phone.evaluate("window.__benchFramesDrawn") - drawn_before
    elapsed_s = time.perf_counter() - started
    good = [reading for reading in readings if reading is not None]
    times_s = [drawn_ms / 1000 for drawn_ms, _ in good]
    latencies_ms = [float(latency_ms) for _, latency_ms in good]
    return {
        "n": len(good),
        "n_unreadable": len(readings) - len(good),
        "n_camera_frames": n_camera,
        "drop_rate": round(1 - len(readings) / n_camera, 4) if n_camera else None,
        "shown_fps": round(len(readings) / elapsed_s, 2),
        "latency_ms": percentiles(latencies_ms),
        "latency_windows": window_medians(times_s, latencies_ms, DRIFT_WINDOW_S),
        "server": {**server.read(), "rss_mib_before": rss_before},
        "all_product_processes": everything.read(),
        "own_metrics": _own_metrics(ready),
    }


def _own_metrics(ready: dict[str, Any]) -> dict[str, Any]:
    """What the product itself says of the same run."""
    headers = {"Authorization": f"Bearer {ready['access_token']}"}
    with httpx.Client(base_url=ready["local_url"], headers=headers, timeout=30) as client:
        status = client.get("/api/status").raise_for_status().json()
        stream_id = status["streams"][0]["stream_id"]
        document = client.get(f"/api/streams/{stream_id}/metrics.json").raise_for_status().json()
    document.pop("rows", None)
    return {"status": status["streams"][0], "model": status["model"], "metrics": document}


def _as_json(settings: LatencySettings) -> dict[str, Any]:
    return {
        "duration_s": settings.duration_s,
        "warmup_s": settings.warmup_s,
        "clip": settings.clip.name if settings.clip else None,
        "size_wh": list(settings.size_wh),
        "fps": settings.fps,
        "model": settings.model,
        "threads": settings.threads,
        "engine_delay_ms": settings.engine_delay_ms,
    }
