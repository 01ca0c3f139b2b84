"""Give boxes of consecutive frames the number of the object they belong to.

Association by overlap in two rounds, confident boxes first, as in ByteTrack (Zhang et al., ECCV
2022, https://arxiv.org/abs/2110.06864); each round takes the best overlap first, as the IoU tracker
does (Bochinski et al., AVSS 2017), which needs no solver. In place of a Kalman filter each track
keeps a smoothed velocity per second, because frames come at any rate: every constant here is in
seconds, none counts frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detect.geometry import box_iou
from detect.types import UNTRACKED, Detections

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """How a :class:`Tracker` decides.

    Attributes
    ----------
    high_score : float
        Boxes with at least this score choose their tracks first.
    min_iou : float
        Least overlap of a confident box with where its track is expected.
    min_iou_low : float
        The same for the other boxes: stricter, since they are more often wrong.
    max_lost_s : float
        A track not seen for so long is forgotten; its number is never used again.
    velocity_tau_s : float
        Time constant of the smoothed velocity.
    max_tracks : int
        Bound on the tracks remembered; the longest unseen go first.
    """

    high_score: float = 0.5
    min_iou: float = 0.2
    min_iou_low: float = 0.4
    max_lost_s: float = 1.0
    velocity_tau_s: float = 0.2
    max_tracks: int = 512


@dataclass(slots=True)
class _Track:
    track_id: int
    class_id: int
    xyxy_px: NDArray[np.float32]
    velocity_px_s: NDArray[np.float32]
    seen_ns: int

    def expected_at(self, time_ns: int) -> NDArray[np.float32]:
        elapsed_s = np.float32((time_ns - self.seen_ns) / NS_PER_S)
        expected: NDArray[np.float32] = self.xyxy_px + self.velocity_px_s * elapsed_s
        return expected

    def see(self, xyxy_px: NDArray[np.float32], time_ns: int, tau_s: float) -> None:
        elapsed_s = (time_ns - self.seen_ns) / NS_PER_S
        if elapsed_s > 0:
            # Velocity of the centre: sides jitter more than places do.
            moved = (xyxy_px[:2] + xyxy_px[2:] - self.xyxy_px[:2] - self.xyxy_px[2:]) / 2
            share = 1 - math.exp(-elapsed_s / tau_s)
            newest = np.tile(moved / elapsed_s, 2)
            self.velocity_px_s += np.float32(share) * (newest - self.velocity_px_s)
        self.xyxy_px = xyxy_px
        self.seen_ns = time_ns


class Tracker:
    """Number the objects of one stream. One per stream; not thread-safe.

    Parameters
    ----------
    settings : TrackerSettings
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._tracks: list[_Track] = []
        self._last_id = 0
        self._now_ns = 0

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._tracks)

    def update(self, detections: Detections, time_ns: int) -> Detections:
        """Number the boxes of the next frame.

        Parameters
        ----------
        detections : Detections
            Of one frame, in source pixels.
        time_ns : int
            When it was taken; an earlier time than the last one's counts as the same.

        Returns
        -------
        Detections
            The same boxes in the same order; ``track_id`` counts from 1.
        """
        self._now_ns = max(self._now_ns, time_ns)
        self._forget_lost()
        track_id = np.full(len(detections), UNTRACKED, np.int32)
        is_high = detections.score >= self._settings.high_score
        free = self._match(
            detections, track_id, np.flatnonzero(is_high), self._tracks, self._settings.min_iou
        )
        self._match(
            detections, track_id, np.flatnonzero(~is_high), free, self._settings.min_iou_low
        )
        for row in np.flatnonzero(track_id == UNTRACKED):
            track_id[row] = self._start(detections, int(row))
        self._bound()
        return replace(detections, track_id=track_id)

    def _match(
        self,
        detections: Detections,
        track_id: NDArray[np.int32],
        rows: NDArray[np.intp],
        tracks: list[_Track],
        min_iou: float,
    ) -> list[_Track]:
        """Write ids for the rows that find a track; return the tracks still free."""
        if not len(rows) or not tracks:
            return tracks
        iou = self._overlaps(detections, rows, tracks)
        taken: set[int] = set()
        for flat in np.argsort(-iou, axis=None, kind="stable"):
            i, j = divmod(int(flat), len(tracks))
            if iou[i, j] < min_iou:
                break
            row = int(rows[i])
            if j not in taken and track_id[row] == UNTRACKED:
                taken.add(j)
                track_id[row] = tracks[j].track_id
                tracks[j].see(detections.xyxy_px[row], self._now_ns, self._settings.velocity_tau_s)
        return [track for j, track in enumerate(tracks) if j not in taken]

    def _overlaps(
        self, detections: Detections, rows: NDArray[np.intp], tracks: list[_Track]
    ) -> NDArray[np.float32]:
        """Overlap of boxes (rows) with expected tracks (columns); 0 between classes."""
        expected = np.stack([track.expected_at(self._now_ns) for track in tracks])
        classes = np.array([track.class_id for track in tracks], np.int32)
        iou = box_iou(detections.xyxy_px[rows], expected)
        iou[detections.class_id[rows][:, None] != classes] = 0
        return iou

    def _start(self, detections: Detections, row: int) -> int:
        self._last_id += 1
        self._tracks.append(
            _Track(
                self._last_id,
                int(detections.class_id[row]),
                detections.xyxy_px[row],
                np.zeros(4, np.float32),
                self._now_ns,
            )
        )
        return self._last_id

    def _forget_lost(self) -> None:
        oldest_ns = self._now_ns - round(self._settings.max_lost_s * NS_PER_S)
        self._tracks = [track for track in self._tracks if track.seen_ns >= oldest_ns]

    def _bound(self) -> None:
        if len(self._tracks) > self._settings.max_tracks:
            self._tracks.sort(key=lambda track: -track.seen_ns)
            del self._tracks[self._settings.max_tracks :]
