"""``import detect`` is cheap, and its public names are what they are said to be."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import detect

HEAVY = ("numpy", "onnxruntime", "av", "aiortc", "PIL", "httpx", "IPython", "ipywidgets", "fastapi")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_import_detect_loads_nothing_heavy() -> None:
    loaded = run_python("import detect, sys; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_values_load_no_runtime() -> None:
    loaded = run_python("from detect import Detections, Frame; import sys; print(*sys.modules)")
    assert not {"onnxruntime", "av", "aiortc"} & set(loaded.split())


def test_pipeline_loads_onnxruntime_only_with_a_model() -> None:
    loaded = run_python("from detect import load_pipeline; import sys; print(*sys.modules)")
    assert not {"onnxruntime", "aiortc", "httpx"} & set(loaded.split())


def test_all_is_sorted_and_complete() -> None:
    assert detect.__all__ == ["Detections", "Frame", "FrameResult", "Pipeline", "load_pipeline"]
    assert set(detect.__all__) <= set(dir(detect))


@pytest.mark.parametrize("name", detect.__all__)
def test_every_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(detect, name)
    assert value is getattr(importlib.import_module(value.__module__), name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = detect.nothing
