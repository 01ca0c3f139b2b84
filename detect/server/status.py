"""What the control routes answer, as JSON values (docs/protocol.md §3)."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from detect.clock import NowNs, duration_ms, now_ns
from detect.metrics import Percentiles
from detect.mode import ModeChoice, choose_mode, probe_machine, usable_cores
from detect.server.hub import Hub, Stream
from detect.server.models import ModelHost
from detect.server.resources import ResourceSampler
from detect.version import package_version
from detect.zoo import ModelEntry, load_registry, local_file


@dataclass(slots=True)
class PhoneAddress:
    """Where phones connect; changes when the machine moves to another network."""

    url: str


class StatusReport:
    """Gathers the answers from the parts of the server."""

    def __init__(  # one per part it reads
        self,
        hub: Hub,
        models: ModelHost,
        resources: ResourceSampler,
        phone: PhoneAddress,
        *,
        is_wanted_port: bool,
        now: NowNs = now_ns,
    ) -> None:
        self._hub = hub
        self._models = models
        self._resources = resources
        self._phone = phone
        self._is_wanted_port = is_wanted_port
        self._now = now
        self._start_ns = now()
        self._version = package_version()

    def status(self) -> dict[str, Any]:
        """``GET api/status``."""
        return {
            "version": self._version,
            "mode": asdict(self._mode()),
            "model": self._model(),
            "phone_url": self._phone.url,
            "streams": [self.stream(each) for each in self._hub.streams],
            "n_viewers": len(self._hub.viewers),
            "settings": asdict(self._hub.settings),
            "uptime_s": self._since_s(self._start_ns),
        }

    def stream(self, stream: Stream) -> dict[str, Any]:
        """StreamStatus."""
        summary = stream.metrics.summary()
        stats = stream.session.stats() if stream.session is not None else None
        return {
            "stream_id": stream.stream_id,
            "name": stream.name,
            "kind": stream.kind.value,
            "state": stream.state.value,
            "message": stream.message,
            "size_wh": summary.size_wh,
            "codec": stats.codec if stats else None,
            "clock_error_ms": stats.clock_error_ms if stats else None,
            "rtt_ms": stats.rtt_ms if stats else None,
            "packets_lost": stats.packets_lost if stats else None,
            "bitrate_bps": stats.bitrate_bps if stats else None,
            "camera_fps": summary.camera_fps,
            "processed_fps": summary.processed_fps,
            "shown_fps": summary.shown_fps,
            "latency_ms": _percentiles(summary.latency_ms),
            "processing_ms": _percentiles(summary.processing_ms),
            "dropped": summary.dropped,
            "counts": self._named(summary.class_counts),
            "since_s": self._since_s(stream.since_ns),
        }

    def document(self, stream: Stream) -> dict[str, object]:
        """The session so far as ``metrics.json``."""
        model = self._models.status
        info = {
            "mode": self._mode().chosen.value,
            "detect_version": self._version,
            "model": model.name,
            "model_sha256": model.sha256,
            "provider": model.provider,
            "engine_threads": model.threads,
            "score_threshold": self._hub.settings.score_threshold,
            "iou_threshold": self._hub.settings.iou_threshold,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "n_cores": usable_cores(),
            "source": stream.kind.value,
        }
        return stream.metrics.document(info, resources=self._resource_metrics(stream))

    def _resource_metrics(self, stream: Stream) -> Mapping[str, float | None]:
        samples = self._resources.samples
        cpu = [sample.cpu_percent for sample in samples]
        rss = [float(sample.rss_bytes) for sample in samples]
        stats = stream.session.stats() if stream.session is not None else None
        return {
            "server_cpu_percent_mean": sum(cpu) / len(cpu) if cpu else None,
            "server_cpu_percent_max": max(cpu, default=None),
            "server_rss_bytes_max": max(rss, default=None),
            "server_rss_bytes_last": rss[-1] if rss else None,
            "bitrate_bps": stats.bitrate_bps if stats else None,
        }

    def _model(self) -> dict[str, Any]:
        model = asdict(self._models.status)
        # What goes wrong while it runs is worth more than how it was loaded.
        model["message"] = self._hub.last_engine_error or model["message"]
        return model

    def _mode(self) -> ModeChoice:
        has_model = bool(self._models.status.name)
        return choose_mode(probe_machine(is_port_free=self._is_wanted_port, has_model=has_model))

    def _named(self, counts: Mapping[int, int]) -> dict[str, int]:
        names = self._models.status.class_names
        return {
            names[number] if number < len(names) else str(number): n for number, n in counts.items()
        }

    def _since_s(self, start_ns: int) -> float:
        return duration_ms(start_ns, self._now()) / 1000


def model_choices(default: str) -> list[dict[str, Any]]:
    """``GET api/models``; looks at the disk."""
    return [_model_choice(entry, default) for entry in load_registry().values()]


def _model_choice(entry: ModelEntry, default: str) -> dict[str, Any]:
    measured = entry.measured_ap50_95
    return {
        "name": entry.name,
        "family": entry.family,
        "input_wh": entry.input_wh,
        "licence": entry.licence,
        "is_available": local_file(entry) is not None,
        "is_default": entry.name == default,
        "ap50_95": measured if measured is not None else entry.published_ap50_95,
        "opt_in": entry.opt_in,
    }


def _percentiles(figures: Percentiles | None) -> dict[str, float | None] | None:
    if figures is None:
        return None
    return {"p50": figures.p50, "p95": figures.p95, "p99": figures.p99}
