"""The network edge: what is read is checked, what is written can be read."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect import protocol
from detect.config import DetectionSettings, IceServer
from detect.errors import ProtocolError
from detect.protocol import Box
from detect.types import Detections, Frame, FrameResult, FrameTimes

PARSERS_OF_TEXT: tuple[Callable[[object], object], ...] = (
    protocol.parse_phone_message,
    protocol.parse_control_message,
    protocol.parse_results,
    protocol.parse_viewer_message,
    protocol.parse_server_message,
    protocol.parse_settings_patch,
)
PARSERS_OF_PAYLOADS: tuple[Callable[[object], object], ...] = (
    protocol.parse_auth,
    protocol.parse_offer,
    protocol.parse_welcome,
    protocol.parse_answer,
)

BOX = Box(1.5, 2.0, 30.1, 40.0, 0.912, 3, 7)

HEADER = protocol.PictureHeader(
    seq=4,
    stream_id="s1",
    rtp=2**32 - 1,
    size_wh=(640, 480),
    boxes=(BOX,),
    model="yolox-nano",
    captured_ms=1_790_000_000_000.25,
    error_ms=1.5,
    processing_ms=20.25,
    stages={"decode": 1.5, "wait": 0.25},
)

# Every text message, and the parser of the side that reads it.
ROUND_TRIPS: tuple[tuple[Any, Callable[[object], object]], ...] = (
    (protocol.Pong(1, 10.5, 1.79e12, 1.79e12), protocol.parse_phone_message),
    (protocol.PhoneState("environment", "live", True), protocol.parse_phone_message),
    (protocol.PhoneState(None, "muted", False), protocol.parse_phone_message),
    (protocol.Ping(0, 0.0), protocol.parse_control_message),
    (protocol.Ping(2**53 - 1, 12.125), protocol.parse_server_message),
    (protocol.Profile(640, 480, 30.0, 2_500_000), protocol.parse_control_message),
    (protocol.Notice("weak_network", "Weak network."), protocol.parse_control_message),
    (
        protocol.Results(7, (480, 640), (BOX,), None, 12.5, "yolox-nano"),
        protocol.parse_results,
    ),
    (protocol.Watch(None), protocol.parse_viewer_message),
    (protocol.Watch("s1"), protocol.parse_viewer_message),
    (protocol.ViewerPong(3, 1.0, 2.0), protocol.parse_viewer_message),
    (protocol.Ack(9), protocol.parse_viewer_message),
    (protocol.Drawn(9, 5.0, 6.5), protocol.parse_viewer_message),
    (protocol.Visible(False), protocol.parse_viewer_message),
    (protocol.Hello(1, ("person", "traffic light"), "yolox-nano"), protocol.parse_server_message),
    (
        protocol.StreamChanged("s1", "live", "Pixel 8", "Live."),
        protocol.parse_server_message,
    ),
    (protocol.StreamChanged(None, "waiting", "", ""), protocol.parse_server_message),
)


@pytest.mark.parametrize(("message", "parse"), ROUND_TRIPS)
def test_what_is_written_can_be_read(message: object, parse: Callable[[object], object]) -> None:
    text = protocol.encode(message)

    assert parse(text) == message
    assert parse(text.encode()) == message


def test_handshake_payloads_round_trip() -> None:
    welcome = protocol.Welcome(
        stream_id="s1",
        resume="r" * 43,
        ice_servers=(IceServer("stun:192.0.2.1"), IceServer("turn:192.0.2.1", "u", "c")),
        video=protocol.VideoRequest(640, 480, 30.0),
        class_names=("person",),
    )
    payload = protocol.to_payload(welcome)

    assert payload["ice_servers"][0] == {"urls": "stun:192.0.2.1"}
    assert protocol.parse_welcome(payload) == welcome
    assert protocol.parse_offer(protocol.to_payload(protocol.Offer("v=0\r\n"))).sdp == "v=0\r\n"
    for answer in (
        protocol.Answer("v=0\r\n"),
        protocol.AnswerError(protocol.Refusal("no_video", "No video in the offer.")),
    ):
        assert protocol.parse_answer(protocol.to_payload(answer)) == answer


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"protocol": 1, "pair": "abc", "name": "phone"}, protocol.PairAuth("abc", "phone")),
        ({"protocol": 1, "resume": "abc", "name": "Pia"}, protocol.ResumeAuth("abc", "Pia")),
        ({"protocol": 1, "local": "laptop"}, protocol.LocalAuth("laptop")),
        ({"protocol": 1, "pair": "abc", "new": [1]}, protocol.PairAuth("abc", "phone")),
    ],
)
def test_auth(payload: object, expected: object) -> None:
    assert protocol.parse_auth(payload) == expected


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (None, "expected an object, got None"),
        ("token", "expected an object, got a text of 5 characters"),
        ({"protocol": 1}, "one of 'pair', 'resume' and 'local', got 0"),
        ({"protocol": 1, "pair": "a", "resume": "b"}, "got 2 of them"),
        ({"protocol": 2, "pair": "a"}, "expected protocol 1, got 2; reload"),
        ({"protocol": True, "pair": "a"}, "protocol: expected a valid integer, got True"),
        ({"protocol": 1, "pair": ""}, "pair: "),
        ({"protocol": 1, "pair": "a b"}, "pair: "),
        ({"protocol": 1, "pair": "a" * 257}, "pair: "),
        ({"protocol": 1, "pair": "a", "name": "x" * 65}, "name: "),
        ({"protocol": 1, "pair": "a", "name": "two\nlines"}, "name: "),
        ({"protocol": 1, "pair": b"a"}, "expected a JSON object, got a dict"),
        ({"protocol": float("nan"), "pair": "a"}, "expected a JSON object"),
    ],
)
def test_bad_auth_is_refused_in_words(payload: object, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(complaint)):
        protocol.parse_auth(payload)


def test_secrets_are_not_repeated() -> None:
    secret = "s3cret value"  # a space: not a token
    with pytest.raises(ProtocolError) as caught:
        protocol.parse_auth({"protocol": 1, "pair": secret})

    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "abc" not in repr(protocol.PairAuth("abc", "phone"))
    assert "abc" not in repr(protocol.ResumeAuth("abc", "phone"))


def test_an_offer_over_the_limit_is_told_apart() -> None:
    limit = protocol.MAX_SDP_BYTES

    assert protocol.parse_offer({"sdp": "x" * limit}).sdp == "x" * limit
    with pytest.raises(protocol.TooLargeError, match="at most 65536 bytes, got 65537"):
        protocol.parse_offer({"sdp": "x" * (limit + 1)})
    with pytest.raises(protocol.TooLargeError):
        protocol.parse_offer({"sdp": "x" * 10_000_000})
    with pytest.raises(ProtocolError, match="sdp: expected this field, got none"):
        protocol.parse_offer({})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "expected an object, got a list"),
        ("{}", "expected a known 'type'"),
        ('{"type": "pang"}', "expected a known 'type'"),
        ('{"type": ["ack"]}', "expected a known 'type'"),
        ('{"type": "ack"}', "ack.seq: expected this field, got none"),
        ('{"type": "ack", "seq": -1}', "ack.seq: expected greater than or equal to 0, got -1"),
        ('{"type": "ack", "seq": 1.0}', "ack.seq: expected a valid integer, got 1.0"),
        ('{"type": "ack", "seq": true}', "ack.seq: expected a valid integer, got True"),
        ('{"type": "ack", "seq": "1"}', "ack.seq: expected a valid integer, got a text of 1"),
        ('{"type": "ack", "seq": 1%s}' % ("0" * 300), "ack.seq: "),
        ('{"type": "ack", "seq": 1%s}' % ("0" * 5000), "at most 4096 bytes"),
        ('{"type": "drawn", "seq": 1, "arrived_ms": NaN, "drawn_ms": 1}', "drawn.arrived_ms: "),
        ('{"type": "drawn", "seq": 1, "arrived_ms": 1e999, "drawn_ms": 1}', "drawn.arrived_ms: "),
        ('{"type": "drawn", "seq": 1, "arrived_ms": 1e300, "drawn_ms": 1}', "drawn.arrived_ms: "),
        ('{"type": "visible", "value": 1}', "visible.value: expected a valid boolean, got 1"),
        ('{"type": "watch", "stream_id": 5}', "watch.stream_id: expected a valid string, got 5"),
        ('{"type": "watch", "stream_id": "%s"}' % ("x" * 129), "watch.stream_id: "),
        ("[" * 4000, "Invalid JSON"),
        ('"\\ud800"', "Invalid JSON"),
        ("\ud800", "got one that is not Unicode"),
        (b"\xff\xfe", "Invalid JSON"),
        (None, "expected JSON text, got None"),
        (7, "expected JSON text, got 7"),
    ],
)
def test_bad_viewer_messages_are_refused_in_words(text: object, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(complaint)):
        protocol.parse_viewer_message(text)


@pytest.mark.parametrize(
    "box",
    [
        [1, 2, 3, 4, 0.5, 1],  # one number short
        [1, 2, 3, 4, 1.5, 1, -1],  # score over 1
        [1, 2, 3, 4, 0.5, -1, -1],  # negative class
        [1, 2, 3, 4, 0.5, 1, -2],  # below "untracked"
        [1e9, 2, 3, 4, 0.5, 1, -1],  # outside every picture
        {"x1": 1},
    ],
)
def test_bad_boxes_are_refused(box: object) -> None:
    message = json.loads(protocol.encode(ROUND_TRIPS[7][0]))
    message["boxes"] = [box]

    with pytest.raises(ProtocolError, match=r"results: boxes\.0"):
        protocol.parse_results(json.dumps(message))


def test_a_number_that_is_not_finite_never_becomes_bad_json() -> None:
    text = protocol.encode(protocol.Ping(1, float("nan")))

    assert json.loads(text)["server_ms"] is None
    with pytest.raises(ProtocolError, match=r"ping\.server_ms"):
        protocol.parse_control_message(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4)
    ),
    max_leaves=12,
)
KEYS = sorted(
    {key for message, _ in ROUND_TRIPS for key in json.loads(protocol.encode(message))}
    | {"protocol", "pair", "resume", "local", "name", "sdp", "error"}
)
TYPES = sorted({message.type for message, _ in ROUND_TRIPS if hasattr(message, "type")})
# Objects with the right keys and wrong values reach deeper than noise does.
likely_objects = st.dictionaries(st.sampled_from(KEYS), json_values, max_size=8).flatmap(
    lambda message: st.sampled_from(TYPES).map(lambda name: {**message, "type": name})
)


@given(data=st.binary(max_size=300) | st.text(max_size=300))
def test_noise_raises_nothing_but_protocol_errors(data: bytes | str) -> None:
    for parse in (*PARSERS_OF_TEXT, *PARSERS_OF_PAYLOADS):
        _try(parse, data)


@given(value=json_values | likely_objects)
def test_json_raises_nothing_but_protocol_errors(value: object) -> None:
    for parse in PARSERS_OF_TEXT:
        _try(parse, json.dumps(value))
    for parse_payload in PARSERS_OF_PAYLOADS:
        _try(parse_payload, value)


def _try(parse: Callable[[object], object], data: object) -> None:
    with contextlib.suppress(ProtocolError):
        parse(data)


def test_picture_round_trip() -> None:
    jpeg = b"\xff\xd8 picture \xff\xd9"
    message = protocol.build_picture(HEADER, jpeg)

    header, rest = protocol.parse_picture(message)

    assert header == HEADER
    assert bytes(rest) == jpeg
    n_header = int.from_bytes(message[:4], "little")
    assert json.loads(message[4 : 4 + n_header])["boxes"] == [list(BOX)]


@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_damaged_pictures_raise_nothing_but_protocol_errors(data: bytes, cut: int) -> None:
    whole = protocol.build_picture(HEADER, b"jpeg")
    for damaged in (data, whole[:cut], whole[: cut // 2] + data):
        with contextlib.suppress(ProtocolError):
            protocol.parse_picture(damaged)


def test_a_picture_over_the_limit_is_refused() -> None:
    with pytest.raises(protocol.TooLargeError, match="picture: expected at most"):
        protocol.parse_picture(bytes(protocol.MAX_PICTURE_BYTES + 1))


def make_detections(n: int, seed: int = 0) -> Detections:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 640, (n, 4)).astype(np.float32)
    corners = np.sort(corners.reshape(n, 2, 2), axis=1).reshape(n, 4)
    return Detections(
        corners,
        np.sort(random.uniform(0, 1, n).astype(np.float32))[::-1].copy(),
        random.integers(0, 80, n).astype(np.int32),
        np.arange(n, dtype=np.int32),
    )


@given(n=st.integers(0, 40), seed=st.integers(0, 1000))
def test_boxes_keep_a_tenth_of_a_pixel_and_three_digits(n: int, seed: int) -> None:
    detections = make_detections(n, seed)

    boxes = protocol.wire_boxes(detections)

    assert [box.class_id for box in boxes] == detections.class_id.tolist()
    assert [box.track_id for box in boxes] == detections.track_id.tolist()
    for box, corners, score in zip(boxes, detections.xyxy_px, detections.score, strict=True):
        # Half of the last digit, and float32 round-off at 640.
        np.testing.assert_allclose(box[:4], corners, atol=0.05 + 1e-4)
        assert abs(box.score - float(score)) <= 0.0005 + 1e-6
        assert all(len(repr(value).partition(".")[2]) <= 1 for value in box[:4])
        assert len(repr(box.score).partition(".")[2]) <= 3 or box.score < 1e-4


def test_more_boxes_than_the_limit_keep_the_best() -> None:
    boxes = protocol.wire_boxes(make_detections(1200))

    assert len(boxes) == 1000
    assert boxes[0].score == max(box.score for box in boxes)


def test_results_of_a_frame() -> None:
    picture = av.VideoFrame(480, 640, "yuv420p")
    frame = Frame("s1", 90_000, picture, None, None, 0, 1)
    result = FrameResult(frame, make_detections(2), FrameTimes(), "yolox-nano")

    text = protocol.build_results(
        result, protocol.wire_boxes(result.detections), age_ms=None, processing_ms=12.5
    )

    parsed = protocol.parse_results(text)
    assert (parsed.rtp, parsed.size_wh, parsed.model) == (90_000, (480, 640), "yolox-nano")
    assert parsed.boxes == protocol.wire_boxes(result.detections)
    assert (parsed.age_ms, parsed.processing_ms) == (None, 12.5)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{}", DetectionSettings()),
        ('{"score_threshold": 0.5}', DetectionSettings(score_threshold=0.5)),
        ('{"iou_threshold": 0}', DetectionSettings(iou_threshold=0)),
        (
            '{"model": "nanodet", "score_threshold": null}',
            DetectionSettings(model="nanodet"),
        ),
    ],
)
def test_settings_patch(body: str, expected: DetectionSettings) -> None:
    assert protocol.parse_settings_patch(body).apply(DetectionSettings()) == expected


@pytest.mark.parametrize("letter", ["m", "\N{EURO SIGN}"])
def test_a_model_may_be_a_long_path(letter: str) -> None:
    path = "/" + letter * 4095
    assert protocol.parse_settings_patch(json.dumps({"model": path})).model == path
    with pytest.raises(ProtocolError, match="4096 characters"):
        protocol.parse_settings_patch(json.dumps({"model": path + letter}))


@pytest.mark.parametrize(
    "body",
    [
        '{"score_threshold": 0}',
        '{"score_threshold": 2}',
        '{"model": ""}',
        r'{"model": "a\nb"}',
        "[]",
        "null",
    ],
)
def test_settings_out_of_range_are_refused(body: str) -> None:
    with pytest.raises(ProtocolError, match="settings"):
        protocol.parse_settings_patch(body)
