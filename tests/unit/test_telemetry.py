"""Prometheus figures."""

from __future__ import annotations

import av
from prometheus_client.parser import text_string_to_metric_families

from detect.clock import NS_PER_MS
from detect.config import DetectionSettings
from detect.server.hub import Hub, StreamKind
from detect.server.resources import MAX_SAMPLES, ResourceSampler
from detect.server.telemetry import Telemetry
from detect.types import POINTS, Frame, FrameTimes

NO_LABEL: frozenset[str] = frozenset()


def samples(telemetry: Telemetry) -> dict[tuple[str, frozenset[str]], float]:
    """Value by name and values of its labels."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(telemetry.text().decode())
        for sample in family.samples
    }


def times(step_ms: float) -> FrameTimes:
    """All points known, one step apart."""
    return FrameTimes(**{name: round(n * step_ms * NS_PER_MS) for n, name in enumerate(POINTS)})


def test_histograms_of_drawn_frames() -> None:
    telemetry = Telemetry(ResourceSampler())
    telemetry.observe(times(5.5))  # captured → drawn: 55 ms
    telemetry.observe(times(5.5))
    found = samples(telemetry)
    assert found["detect_latency_seconds_count", NO_LABEL] == 2
    assert found["detect_latency_seconds_bucket", frozenset({"0.05"})] == 0
    assert found["detect_latency_seconds_bucket", frozenset({"0.06"})] == 2
    assert found["detect_stage_seconds_sum", frozenset({"infer"})] == 0.011
    assert found["detect_processing_seconds_count", NO_LABEL] == 2


def test_unknown_points_are_not_counted_and_clock_error_is_not_negative() -> None:
    telemetry = Telemetry(ResourceSampler())
    telemetry.observe(FrameTimes(received_ns=5, drawn_ns=3))
    found = samples(telemetry)
    assert found["detect_latency_seconds_count", NO_LABEL] == 0
    assert found["detect_processing_seconds_sum", NO_LABEL] == 0


async def test_streams_are_read_when_asked_and_leave_no_label() -> None:
    hub = Hub(new_session=None, settings=DetectionSettings())  # type: ignore[arg-type]  # no session is made
    telemetry = Telemetry(ResourceSampler())
    telemetry.watch(hub, lambda: 3)
    stream = hub.open("Pixel", StreamKind.PHONE)
    frame = Frame(stream.stream_id, 1, av.VideoFrame(16, 16, "yuv420p"), None, None, 1, 2)
    stream.metrics.on_camera_frame(frame)
    stream.metrics.on_drop("replaced")
    found = samples(telemetry)
    assert found["detect_phones", NO_LABEL] == 3
    assert found["detect_viewers", NO_LABEL] == 0
    assert found["detect_resident_memory_bytes", NO_LABEL] > 1e6
    assert found["detect_frames_total", frozenset({stream.stream_id, "camera"})] == 1
    assert found["detect_frames_dropped_total", frozenset({stream.stream_id, "replaced"})] == 1
    await hub.remove(stream.stream_id)
    assert stream.stream_id not in telemetry.text().decode()
    await hub.close()


def test_the_devices_name_is_no_label() -> None:
    # Names come from outside and would make labels without bound.
    assert "name" not in Telemetry(ResourceSampler()).text().decode().split("# ")[0]


def test_resource_samples_are_bounded() -> None:
    sampler = ResourceSampler()
    first = sampler.sample()
    assert first.rss_bytes > 1e6
    assert first.n_threads >= 1
    assert sampler.samples == (first,)
    assert sampler._samples.maxlen == MAX_SAMPLES
