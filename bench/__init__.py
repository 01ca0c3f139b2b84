"""Benchmarks of the real path: real Chromium phone, real server, real dashboard.

``python -m bench --help`` lists them. Each stores what it measured together with the hardware, the
versions and the command, because a number without them means nothing. Timings are never asserted in
tests; they are compared as ratios between runs whose metadata agree.
"""
