"""Figures of a phone's connection, for people and dashboards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """Counters of one receive path since its start.

    Attributes
    ----------
    codec : str or None
        ``VP8`` or ``H264``; None before the first packet.
    packets_received, packets_lost, packets_repaired : int
        Distinct packets that came; that never came and are no longer waited for; that were missed
        and then came.
    nacks_sent, keyframe_requests, holes_abandoned : int
        Packets asked for again; key frames asked for; restarts from a key frame.
    frames_decoded, decode_drops, callback_errors : int
        Pictures out; encoded frames dropped because the decoder was behind; exceptions in the
        callback.
    jitter_ms : float
        Interarrival jitter of RFC 3550 §6.4.1.
    bitrate_bps : float
        Of encoded pictures over the last two seconds.
    """

    codec: str | None
    packets_received: int
    packets_lost: int
    packets_repaired: int
    nacks_sent: int
    keyframe_requests: int
    holes_abandoned: int
    frames_decoded: int
    decode_drops: int
    callback_errors: int
    jitter_ms: float
    bitrate_bps: float


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Figures of one connection since its start; None where not known (yet).

    Attributes
    ----------
    media : ReceiverStats or None
        Of the receive path; None before the answer.
    rtt_ms : float or None
        Newest round trip on the control channel.
    clock_error_ms : float or None
        Bound on the error of the phone's clock.
    implausible_captures : int
        Frames whose capture time made no sense and was not used.
    results_dropped, bad_messages : int
        Results not sent because earlier ones were still under way or the channel was not open;
        messages of the phone that broke the protocol.
    """

    media: ReceiverStats | None
    rtt_ms: float | None
    clock_error_ms: float | None
    implausible_captures: int
    results_dropped: int
    bad_messages: int

    @property
    def codec(self) -> str | None:
        """Name of the video codec in use."""
        return self.media.codec if self.media is not None else None

    @property
    def packets_lost(self) -> int:
        """Packets that never came."""
        return self.media.packets_lost if self.media is not None else 0

    @property
    def bitrate_bps(self) -> float:
        """Of the encoded video over the last two seconds."""
        return self.media.bitrate_bps if self.media is not None else 0.0
