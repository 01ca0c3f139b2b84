"""Live object detection from a phone's camera, in a notebook, with honest latency."""
