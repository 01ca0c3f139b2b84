"""Benchmarks.

``python -m bench --help`` lists those of the real path: real Chromium phone, server and dashboard.
Each stores what it measured together with the hardware, the versions and the command, because a
number without them means nothing. ``python -m bench.receive_path`` prints what the wrapped receive
path saves. Timings are never asserted in tests; runs are compared only where their metadata agree.
"""
