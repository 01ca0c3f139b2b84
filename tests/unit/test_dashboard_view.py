"""The view's traits: the same in Python and TypeScript; its page's signs of life."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anywidget
import ipywebrtc
import pytest
import traitlets as t

from detect.dashboard.view import DetectionView

MODEL_TS = Path(__file__).parents[2] / "detect" / "frontend" / "src" / "view" / "model.ts"

TYPESCRIPT_OF: dict[type, str] = {t.Unicode: "string", t.Bool: "boolean", t.Instance: "string"}


def typescript_traits() -> dict[str, str]:
    body = re.search(r"export interface Traits \{(.*?)\n\}", MODEL_TS.read_text("utf-8"), re.S)
    assert body is not None
    return dict(re.findall(r"^  (\w+): (.+);$", body[1], re.M))


def python_traits() -> dict[str, t.TraitType[Any, Any]]:
    own = DetectionView.class_own_traits(sync=True)
    return {
        name: trait for name, trait in own.items() if name not in anywidget.AnyWidget().traits()
    }


@pytest.mark.skipif(not MODEL_TS.is_file(), reason="the front-end's sources are not installed")
def test_traits_are_those_of_the_front_end() -> None:
    theirs = typescript_traits()
    ours = python_traits()
    assert set(theirs) == set(ours)
    for name, trait in ours.items():
        if isinstance(trait, t.Enum):
            assert theirs[name] in ("StreamState", "Connection")
            continue
        expected = TYPESCRIPT_OF[type(trait)] + (" | null" if trait.allow_none else "")
        assert theirs[name] == expected, name


@pytest.mark.skipif(not MODEL_TS.is_file(), reason="the front-end's sources are not installed")
def test_connection_words_are_those_of_the_front_end() -> None:
    words = re.search(r"type Connection = (.+);", MODEL_TS.read_text("utf-8"))
    assert words is not None
    assert re.findall(r'"(\w+)"', words[1]) == list(DetectionView.connection.values or ())


def test_it_is_a_stream_that_recorders_take() -> None:
    view = DetectionView()
    assert isinstance(view, ipywebrtc.MediaStream)
    assert ipywebrtc.ImageRecorder(stream=view).stream is view
    assert view.get_state()["_model_module"] == "anywidget"


def test_the_page_knows_the_id_before_the_model_is_opened() -> None:
    view = DetectionView()
    assert view.model_id == view.get_state()["_self_id"] != ""


def test_a_misspelt_trait_is_refused() -> None:
    with pytest.raises(TypeError, match="steam_id"):
        DetectionView(steam_id="s1")


def test_heartbeats_reach_the_listeners_and_anything_else_does_not() -> None:
    view = DetectionView()
    heard: list[str] = []
    view.on_page(heard.append)
    assert view.silence_s is None
    for content in ({"type": "heartbeat"}, {"type": "surprise"}, "x", {"type": "bye"}):
        view._handle_custom_msg(content, [])
    assert heard == ["heartbeat", "bye"]
    assert view.silence_s is None
