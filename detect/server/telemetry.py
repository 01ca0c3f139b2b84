"""Prometheus figures, in a registry of our own (docs/protocol.md §3, ``GET metrics``).

Per-stream figures are read when asked for, so a stream that is gone leaves no label behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detect.clock import NS_PER_MS
from detect.server.hub import Hub, Stream
from detect.server.resources import ResourceSampler
from detect.types import STAGES, FrameTimes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Fine around the goals (p50 60 ms, p95 100 ms), coarse beyond.
_LATENCY_BUCKETS_S = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.14, 0.2, 0.3, 0.5, 1, 2, 5)
_STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1)


class Telemetry:
    """Histograms fed by drawn frames, and a collector that reads the hub.

    Parameters
    ----------
    resources : ResourceSampler
        For the process's memory.
    """

    def __init__(self, resources: ResourceSampler) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._latency = Histogram(
            "detect_latency_seconds",
            "Captured on the phone to drawn on the dashboard, clocks synchronised.",
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._processing = Histogram(
            "detect_processing_seconds",
            "Last packet received to drawn on the dashboard.",
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._stages = Histogram(
            "detect_stage_seconds",
            "Duration of each stage of a frame's way.",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self._registry,
        )
        self._resources = resources

    def observe(self, times: FrameTimes) -> None:
        """Count one drawn frame."""
        _observe(self._latency, times.captured_ns, times.drawn_ns)
        _observe(self._processing, times.received_ns, times.drawn_ns)
        for stage in STAGES:
            start, end = getattr(times, stage.start), getattr(times, stage.end)
            _observe(self._stages.labels(stage.name), start, end)

    def watch(self, hub: Hub, n_phones: Callable[[], int]) -> None:
        """Report this hub from now on."""
        self._registry.register(_HubCollector(hub, n_phones, self._resources))

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


def _observe(histogram: Histogram, start_ns: int | None, end_ns: int | None) -> None:
    if start_ns is not None and end_ns is not None:
        # Two clocks compared may put an end before its start by their error.
        histogram.observe(max(0, end_ns - start_ns) / (1000 * NS_PER_MS))


class _HubCollector(Collector):
    """Reads hub and process at every scrape."""

    def __init__(self, hub: Hub, n_phones: Callable[[], int], resources: ResourceSampler) -> None:
        self._hub = hub
        self._n_phones = n_phones
        self._resources = resources

    def describe(self) -> Iterable[Metric]:
        """Nothing to reserve: names are fixed."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Present figures."""
        yield from self._server()
        yield from self._per_stream(self._hub.streams)

    def _server(self) -> Iterable[Metric]:
        sent, replaced = self._hub.viewers.totals()
        yield GaugeMetricFamily(
            "detect_phones", "Open signalling connections.", value=self._n_phones()
        )
        yield GaugeMetricFamily(
            "detect_viewers", "Dashboard pages connected.", value=len(self._hub.viewers)
        )
        yield GaugeMetricFamily(
            "detect_resident_memory_bytes",
            "Resident memory of the media server.",
            value=self._resources.rss_bytes(),
        )
        yield CounterMetricFamily("detect_pictures_sent", "Pictures handed to viewers.", value=sent)
        yield CounterMetricFamily(
            "detect_pictures_replaced", "Pictures a newer one replaced.", value=replaced
        )

    def _per_stream(self, streams: tuple[Stream, ...]) -> Iterable[Metric]:
        fps = GaugeMetricFamily(
            "detect_frames_per_second", "Over the last 2 s.", labels=["stream", "point"]
        )
        frames = CounterMetricFamily(
            "detect_frames", "Frames since the stream began.", labels=["stream", "point"]
        )
        dropped = CounterMetricFamily(
            "detect_frames_dropped", "Frames without a result.", labels=["stream", "cause"]
        )
        lost = CounterMetricFamily(
            "detect_packets_lost", "RTP packets that never came.", labels=["stream"]
        )
        for stream in streams:
            name, summary = stream.stream_id, stream.metrics.summary()
            fps.add_metric([name, "camera"], summary.camera_fps)
            fps.add_metric([name, "processed"], summary.processed_fps)
            fps.add_metric([name, "shown"], summary.shown_fps)
            frames.add_metric([name, "camera"], summary.n_camera)
            frames.add_metric([name, "processed"], summary.n_processed)
            frames.add_metric([name, "shown"], summary.n_shown)
            for cause, n in summary.dropped.items():
                dropped.add_metric([name, cause], n)
            if stream.session is not None:
                lost.add_metric([name], stream.session.stats().packets_lost)
        return fps, frames, dropped, lost
