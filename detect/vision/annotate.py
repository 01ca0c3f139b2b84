"""Draw boxes and labels on a picture; colours and words are those of ``overlay.ts``."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from detect.geometry import clip_boxes
from detect.types import UNTRACKED, Detections

_GOLDEN_ANGLE_DEG = 137.508  # keeps the hues of neighbouring class numbers far apart
_FIRST_HUE_DEG = 145.0
_INK_DARK, _INK_LIGHT = (16, 21, 28), (255, 255, 255)


def class_colour(class_id: int) -> tuple[int, int, int]:
    """RGB colour of a class, 0-255: the same in every picture, video and page."""
    hue_deg = (_FIRST_HUE_DEG + class_id * _GOLDEN_ANGLE_DEG) % 360
    # Blues and violets look dark at the lightness that suits yellow and green.
    lightness = 0.72 if 215 < hue_deg < 300 else 0.58
    red, green, blue = colorsys.hls_to_rgb(round(hue_deg) / 360, lightness, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(
    rgb: NDArray[np.uint8], detections: Detections, class_names: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Copy of a picture with its boxes, the best one on top.

    Parameters
    ----------
    rgb : ndarray, shape (H, W, 3), uint8
    detections : Detections
        In pixels of ``rgb``.
    class_names : tuple of str
        By class id.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    shorter_px = min(image.size)
    width_px = max(2, round(shorter_px / 180))
    font = ImageFont.load_default(min(28, max(11, shorter_px / 40)))
    corners_px = clip_boxes(detections.xyxy_px, (image.width - 1, image.height - 1))
    for row in reversed(range(len(detections))):
        colour = class_colour(int(detections.class_id[row]))
        x1, y1, x2, y2 = (float(side) for side in corners_px[row])
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width_px)
        _draw_label(draw, font, (x1, y1), label_text(detections, row, class_names), colour)
    return np.asarray(image)


def label_text(detections: Detections, row: int, class_names: tuple[str, ...]) -> str:
    """What a label says: ``person 87% #3``."""
    class_id, track_id = int(detections.class_id[row]), int(detections.track_id[row])
    name = class_names[class_id] if class_id < len(class_names) else f"class {class_id}"
    words = f"{name} {round(float(detections.score[row]) * 100)}%"
    return words if track_id == UNTRACKED else f"{words} #{track_id}"


def _draw_label(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    corner_xy_px: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
) -> None:
    """Put a filled label above the corner, or below it at the top; never out of the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width_px, height_px = right - left + 6, bottom - top + 4
    x = max(0.0, min(corner_xy_px[0], draw.im.size[0] - width_px))
    y = corner_xy_px[1] - height_px
    y = corner_xy_px[1] if y < 0 else y
    draw.rectangle((x, y, x + width_px, y + height_px), fill=colour)
    draw.text((x + 3 - left, y + 2 - top), text, fill=_ink_on(colour), font=font)


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark or light letters, by the brightness of the ground (ITU-R BT.601 luma)."""
    red, green, blue = colour
    return _INK_DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else _INK_LIGHT
