"""``metrics.json``, version 1: one session, from counts to raw rows.

The schema is ``bench/schema/metrics.schema.json``; docs/measuring.md says what the figures mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detect.clock import NS_PER_MS
from detect.metrics.rows import UNKNOWN_NS, Rows, known
from detect.metrics.statistics import describe, percentile
from detect.types import STAGES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = "detect-metrics"
FORMAT_VERSION = 1

PERCENTILE_RULE = "nearest rank; null where n * (1 - q) < 1"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted since the beginning, whether or not its row is still kept."""

    duration_s: float
    n_camera: int
    n_processed: int
    n_shown: int
    n_late: int
    n_rows_overwritten: int
    dropped: dict[str, int]


def build_document(
    rows: Rows,
    counts: Counts,
    *,
    info: Mapping[str, object],
    resources: Mapping[str, float | None],
) -> dict[str, object]:
    """Values fit for ``json.dumps`` in the shape of the schema.

    Parameters
    ----------
    rows : Rows
        Closed rows.
    counts : Counts
        Counts of the whole session.
    info : mapping
        Goes into ``benchmark_info`` beside what is known here.
    resources : mapping
        Becomes ``resource_metrics``.
    """
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "benchmark_info": {**info, **_own_info(rows, counts)},
        "latency_metrics": {"from": "captured", "to": "drawn", **describe(known(rows.latency))},
        "performance_metrics": _performance(rows, counts),
        "resource_metrics": dict(resources),
        "stage_metrics": _stages(rows),
        "drops": dict(sorted(counts.dropped.items())),
        "rows": rows.columns(),
    }


def _own_info(rows: Rows, counts: Counts) -> dict[str, object]:
    errors_ms = rows.errors_ms
    n = len(errors_ms)
    return {
        "duration_s": counts.duration_s,
        "n_camera": counts.n_camera,
        "n_processed": counts.n_processed,
        "n_shown": counts.n_shown,
        "n_late_reports": counts.n_late,
        "n_rows": len(rows),
        "n_rows_overwritten": counts.n_rows_overwritten,
        "models": sorted({rows.models[index] for index in rows.table["model"].tolist()}),
        "clock_error_ms": {
            "n": n,
            "median": percentile(errors_ms, 0.5),
            "max": float(errors_ms[-1]) if n else None,
        },
        "percentile_rule": PERCENTILE_RULE,
    }


def _performance(rows: Rows, counts: Counts) -> dict[str, object]:
    """Rates over the whole session, and the latency split by who is responsible."""
    return {
        "camera_fps": _per_second(counts.n_camera, counts.duration_s),
        "processed_fps": _per_second(counts.n_processed, counts.duration_s),
        "shown_fps": _per_second(counts.n_shown, counts.duration_s),
        "inference": describe(known(rows.stage("infer"))),
        "server": describe(known(rows.between("received_ns", "sent_ns"))),
        "network": describe(_network(rows)),
        "processing": describe(known(rows.processing)),
        "age_when_taken": describe(known(rows.age)),
    }


def _network(rows: Rows) -> NDArray[np.int64]:
    """Both hops: camera → server (the phone's encoder included) and server → page."""
    there, back = rows.stage("transport"), rows.stage("deliver")
    is_known = (there != UNKNOWN_NS) & (back != UNKNOWN_NS)
    both: NDArray[np.int64] = there[is_known] + back[is_known]
    return both


def _per_second(n: int, duration_s: float) -> float | None:
    # n events bound n - 1 intervals.
    return (n - 1) / duration_s if n > 1 and duration_s > 0 else None


def _stages(rows: Rows) -> dict[str, object]:
    """Every stage over one population, so that the sums of the stages are the sum of the total.

    That population are the rows with every point known. Without any (no synchronised clock, no
    viewer) each stage is described over the rows it is known in, and there is no total.
    """
    complete = rows.where(rows.is_complete)
    is_complete = len(complete) > 0
    population = complete if is_complete else rows
    return {
        "population": "complete" if is_complete else "known",
        "n": len(population),
        "total": _stage(complete.latency) if is_complete else None,
        "stages": {stage.name: _stage(known(population.stage(stage.name))) for stage in STAGES},
    }


def _stage(durations_ns: NDArray[np.int64]) -> dict[str, float | int | None]:
    figures = describe(durations_ns)
    sum_ns = int(durations_ns.sum())
    n = len(durations_ns)
    return {
        "n": n,
        "sum_ns": sum_ns,
        "mean_ms": sum_ns / n / NS_PER_MS if n else None,
        "p50_ms": figures["median_ms"],
        "p95_ms": figures["p95_ms"],
        "p99_ms": figures["p99_ms"],
    }
