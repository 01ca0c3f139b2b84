"""What was measured: per-frame rows in a bounded ring, a live summary, and ``metrics.json``.

* :mod:`detect.metrics.statistics`: percentiles, and when there are too few values for one
* :mod:`detect.metrics.rows`: the ring of rows and the columns computed from it
* :mod:`detect.metrics.stream`: :class:`StreamMetrics`, what the server talks to
* :mod:`detect.metrics.document`: the ``metrics.json`` format, version 1
"""

from detect.metrics.document import FORMAT_VERSION, build_document
from detect.metrics.rows import Rows
from detect.metrics.statistics import Percentiles, percentile, percentiles
from detect.metrics.stream import Samples, StreamMetrics, StreamSummary

__all__ = [
    "FORMAT_VERSION",
    "Percentiles",
    "Rows",
    "Samples",
    "StreamMetrics",
    "StreamSummary",
    "build_document",
    "percentile",
    "percentiles",
]
