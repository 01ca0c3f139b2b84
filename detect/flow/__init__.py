"""From decoded frames to results: who is served next, and what happens to the others."""
