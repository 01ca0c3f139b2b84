"""The code drawn into benchmark frames: when the frame was drawn, readable after VP8 and JPEG."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrameCode:
    """Layout of the code: one row of square cells along the bottom edge, white is one.

    Attributes
    ----------
    cell_px : int
        Side of a cell. 12 px survive VP8 at 300 kbit/s (640x480, 30 frames/s) and then JPEG at
        quality 75 without a wrong bit: ``tests/integration/test_bench_pages.py``.
    n_bits : int
        24 bits of milliseconds and 8 of check sum; misread codes are dropped and counted.
    """

    cell_px: int = 12
    n_bits: int = 32

    def as_javascript(self) -> str:
        """Return the object literal that the page scripts expect."""
        return json.dumps({"cellPx": self.cell_px, "nBits": self.n_bits})
