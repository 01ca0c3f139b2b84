"""The two session descriptions of a phone: what is taken from its offer, what is added to ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.sdp import MediaDescription, SessionDescription

from detect.config import IceServer
from detect.errors import TransportError

OfferErrorCode: TypeAlias = Literal["sdp_invalid", "no_video", "failed"]

MAX_CANDIDATES: Final = 32
"""Candidates taken from an offer; a phone with every network on has about ten."""
START_BITRATE_KBPS: Final = 1500
"""What 640x480 at 30 frames/s needs. By the receiver alone, Chromium is led from 300 kbit/s on
and reaches 1 Mbit/s after 24 s; told this, it sends 1.4 Mbit/s after 5 s (decision 0002)."""

CODECS: Final = ("VP8", "H264")
"""In order of preference. VP8 decodes without delay whatever the phone's encoder is."""


class OfferError(TransportError):
    """An offer cannot be answered; ``code`` is the one of docs/protocol.md §1.1."""

    def __init__(self, code: OfferErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: OfferErrorCode = code


@dataclass(frozen=True, slots=True)
class PhoneOffer:
    """A checked offer.

    Attributes
    ----------
    sdp : str
        Ready for aiortc.
    codec : str
        The codec to answer with.
    """

    sdp: str
    codec: str


def prepare_offer(offer_sdp: str) -> PhoneOffer:
    """Check a phone's offer and take out what aiortc should not see.

    Taken out are candidates that are not plain addresses: resolving a ``.local`` name costs one
    second (the phone is found all the same, by its own checks), any other name would make the
    server look it up. So is ``end-of-candidates``: without any candidate left, ICE would give up
    before the phone's first check arrives.

    Raises
    ------
    OfferError
        ``sdp_invalid`` or ``no_video``.
    """
    lines = offer_sdp.splitlines()
    sdp = "\r\n".join([*_kept(lines), ""])
    try:
        description = SessionDescription.parse(sdp)
    except Exception as error:  # whatever a parser trips over in a stranger's text
        raise OfferError(
            "sdp_invalid", f"the offer is not a session description: {error}"
        ) from error
    return PhoneOffer(sdp, _codec_of(_video_section(description)))


def _kept(lines: Iterable[str]) -> Iterable[str]:
    n_candidates = 0
    for line in lines:
        if line.startswith("a=end-of-candidates"):
            continue
        if line.startswith("a=candidate:"):
            n_candidates += 1
            if n_candidates > MAX_CANDIDATES or not _has_plain_address(line):
                continue
        yield line


def _has_plain_address(line: str) -> bool:
    """Whether a candidate line (RFC 8839 §5.1) names an IP address."""
    fields = line.split()
    try:
        ipaddress.ip_address(fields[4])
    except (IndexError, ValueError):
        return False
    return True


def _video_section(description: SessionDescription) -> MediaDescription:
    kinds = [media.kind for media in description.media]
    videos = [
        media
        for media in description.media
        if media.kind == "video" and media.direction in ("sendonly", "sendrecv")
    ]
    if not videos:
        raise OfferError("no_video", f"expected one video section that sends, got {kinds}")
    if len(videos) > 1 or set(kinds) - {"video", "application"} or len(kinds) > 2:
        raise OfferError(
            "sdp_invalid", f"expected one video and one data channel section, got {kinds}"
        )
    if videos[0].ice is None or videos[0].dtls is None or not videos[0].dtls.fingerprints:
        raise OfferError("sdp_invalid", "the offer lacks ICE credentials or a fingerprint")
    return videos[0]


def _codec_of(video: MediaDescription) -> str:
    offered = {codec.name.upper() for codec in video.rtp.codecs}
    for codec in CODECS:
        if codec in offered:
            return codec
    raise OfferError("no_video", f"expected VP8 or H264 video, got {sorted(offered)}")


def with_start_bitrate(answer_sdp: str, codec: str, start_kbps: int = START_BITRATE_KBPS) -> str:
    """Tell a libwebrtc sender to start at this bitrate instead of 300 kbit/s.

    Adds ``x-google-start-bitrate`` to the format parameters of every payload type of ``codec``;
    other senders ignore it.
    """
    lines = answer_sdp.splitlines()
    payload_types = {
        line.split(":", 1)[1].split()[0]
        for line in lines
        if line.startswith("a=rtpmap:") and f" {codec}/".lower() in line.lower()
    }
    parameter = f"x-google-start-bitrate={start_kbps}"
    with_parameters: set[str] = set()
    for index, line in enumerate(lines):
        payload_type = line.removeprefix("a=fmtp:").split(" ", 1)[0]
        if line.startswith("a=fmtp:") and payload_type in payload_types:
            lines[index] = f"{line};{parameter}"
            with_parameters.add(payload_type)
    for payload_type in payload_types - with_parameters:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"a=rtpmap:{payload_type} "))
        lines.insert(at + 1, f"a=fmtp:{payload_type} {parameter}")
    return "\r\n".join([*lines, ""])


def rtc_configuration(ice_servers: Iterable[IceServer]) -> RTCConfiguration:
    """These servers and no others: the default of aiortc asks a public one."""
    return RTCConfiguration(
        iceServers=[
            RTCIceServer(urls=server.urls, username=server.username, credential=server.credential)
            for server in ice_servers
        ],
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )
