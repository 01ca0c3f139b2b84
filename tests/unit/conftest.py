"""Property tests decide by what happens, never by how long it takes."""

from __future__ import annotations

from hypothesis import settings

# Hypothesis fails an example that takes 200 ms; a machine that is shared may stall for longer.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")
