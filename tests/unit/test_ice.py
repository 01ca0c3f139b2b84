from __future__ import annotations

import pytest

from detect.config import IceServer
from detect.rtc.ice import (
    MAX_CANDIDATES,
    OfferError,
    prepare_offer,
    rtc_configuration,
    with_start_bitrate,
)

FINGERPRINT = ":".join(["AB"] * 32)


def make_offer(
    *, codecs: tuple[str, ...] = ("VP8", "H264"), video: str = "sendonly", extra: str = ""
) -> str:
    """An offer as browsers write it, without what this package does not look at."""
    lines = [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(str(96 + i) for i in range(len(codecs)))}",
        "c=IN IP4 0.0.0.0",
        "a=candidate:1 1 udp 2113937151 6f1a2b3c-0000-4000-8000-1234567890ab.local 50000 typ host",
        "a=candidate:2 1 udp 2113937150 192.0.2.7 50001 typ host",
        "a=candidate:3 1 udp 2113937149 fd00::7 50002 typ host",
        "a=candidate:4 1 udp 2113937148 example.com 50003 typ host",
        "a=end-of-candidates",
        *transport("0"),
        f"a={video}",
        *(f"a=rtpmap:{96 + i} {codec}/90000" for i, codec in enumerate(codecs)),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        *transport("1"),
        "a=sctp-port:5000",
    ]
    return "\r\n".join(lines) + "\r\n" + extra


def transport(mid: str) -> list[str]:
    return [
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuvwx",
        f"a=fingerprint:sha-256 {FINGERPRINT}",
        "a=setup:actpass",
        f"a=mid:{mid}",
        "a=rtcp-mux",
    ]


def test_only_plain_addresses_are_kept() -> None:
    sdp = prepare_offer(make_offer()).sdp
    candidates = [line.split()[4] for line in sdp.splitlines() if line.startswith("a=candidate")]
    assert candidates == ["192.0.2.7", "fd00::7"]
    assert "end-of-candidates" not in sdp


def test_candidates_are_limited() -> None:
    many = "".join(f"a=candidate:{i} 1 udp 1 192.0.2.9 {i} typ host\r\n" for i in range(1000))
    assert prepare_offer(make_offer(extra=many)).sdp.count("a=candidate:") <= MAX_CANDIDATES


def test_a_candidate_line_cut_short_is_dropped() -> None:
    assert prepare_offer(make_offer(extra="a=candidate:9 1 udp\r\n")).sdp.count("a=cand") == 2


@pytest.mark.parametrize(
    ("codecs", "codec"),
    [
        (("VP8", "H264"), "VP8"),
        (("H264", "vp8"), "VP8"),
        (("H264", "VP9"), "H264"),
    ],
)
def test_vp8_is_preferred(codecs: tuple[str, ...], codec: str) -> None:
    assert prepare_offer(make_offer(codecs=codecs)).codec == codec


AUDIO = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\na=rtpmap:111 opus/48000/2\r\n"
SECOND_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n"
)


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ("", "no_video"),
        ("hello", "no_video"),
        ("m=video\r\n", "sdp_invalid"),
        ("m=video 9 UDP/TLS/RTP/SAVPF x\r\n", "sdp_invalid"),
        ("\x00" * 100, "no_video"),
        (make_offer(video="recvonly"), "no_video"),
        (make_offer(video="inactive"), "no_video"),
        (make_offer(codecs=("VP9", "AV1")), "no_video"),
        (make_offer(extra=AUDIO), "sdp_invalid"),
        (make_offer(extra=SECOND_VIDEO), "sdp_invalid"),
        (make_offer().replace("a=fingerprint", "a=footprint"), "sdp_invalid"),
    ],
)
def test_offers_that_cannot_be_answered(offer: str, code: str) -> None:
    with pytest.raises(OfferError) as caught:
        prepare_offer(offer)
    assert caught.value.code == code


def test_the_start_bitrate_is_added_where_there_are_no_parameters() -> None:
    answer = "v=0\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    assert with_start_bitrate(answer, "VP8", 1500).splitlines() == [
        "v=0",
        "a=rtpmap:96 VP8/90000",
        "a=fmtp:96 x-google-start-bitrate=1500",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
    ]


def test_the_start_bitrate_is_appended_to_parameters() -> None:
    answer = "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1\r\n"
    assert with_start_bitrate(answer, "H264", 900).splitlines() == [
        "a=rtpmap:102 H264/90000",
        "a=fmtp:102 packetization-mode=1;x-google-start-bitrate=900",
    ]


def test_no_ice_server_means_none() -> None:
    assert rtc_configuration(()).iceServers == []


def test_configured_ice_servers_are_used() -> None:
    (server,) = rtc_configuration((IceServer("turn:192.0.2.1", "user", "secret"),)).iceServers or []
    assert (server.urls, server.username, server.credential) == ("turn:192.0.2.1", "user", "secret")
