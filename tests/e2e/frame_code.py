"""Frame numbers drawn into a picture as black and white squares, readable after video coding.

One row of :data:`N_CELLS` cells along the bottom edge, over the whole width: a white and a black
reference cell, 16 bits of the number, 8 check bits; the most significant bit comes first. Positions
are fractions of the picture, so that a scaled copy reads the same. At 640 pixels a cell is 24.6
pixels wide, more than the 16-pixel macroblock of VP8, so coding cannot smear a cell away.

The check bits are a CRC-8 (polynomial 0x07, as in ITU-T I.432.1): a wrong reading is refused
instead of passed on as another frame's number, but for one in 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BITS = 16
N_CHECK_BITS = 8
N_CELLS = 2 + N_BITS + N_CHECK_BITS
MAX_NUMBER = (1 << N_BITS) - 1
ROW_HEIGHT = 1 / 15
"""Height of the row as a fraction of the picture: 32 of 480 pixels."""
MIN_CONTRAST = 60.0
"""Least difference of the reference cells (0 to 255) for a picture to hold a code at all."""

_CRC_POLYNOMIAL = 0x07

CELL_LEVELS_JS = """
(source) => {
  const nCells = N_CELLS, rowHeight = ROW_HEIGHT;
  const width = source.videoWidth || source.naturalWidth || source.width;
  const height = source.videoHeight || source.naturalHeight || source.height;
  const row = Math.max(4, Math.round(height * rowHeight));
  const copy = new OffscreenCanvas(width, row);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, height - row, width, row, 0, 0, width, row);
  const { data } = context.getImageData(0, 0, width, row);
  const levels = [];
  for (let cell = 0; cell < nCells; cell += 1) {
    const x0 = Math.floor((cell + 0.25) * width / nCells);
    const x1 = Math.max(x0 + 1, Math.ceil((cell + 0.75) * width / nCells));
    let sum = 0, n = 0;
    for (let y = Math.floor(row / 4); y < Math.ceil(row * 3 / 4); y += 1) {
      for (let x = x0; x < x1; x += 1, n += 1) sum += data[(y * width + x) * 4 + 1];
    }
    levels.push(sum / n);
  }
  return levels;
}
""".replace("N_CELLS", str(N_CELLS)).replace("ROW_HEIGHT", str(ROW_HEIGHT))
"""Browser twin of :func:`cell_levels` (green channel) for a canvas, image or video element."""


def encode(number: int) -> tuple[bool, ...]:
    """Cells of ``number``, True for white.

    Raises
    ------
    ValueError
        When it does not fit into 16 bits.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"number: expected 0 to {MAX_NUMBER}, got {number}")
    word = number << N_CHECK_BITS | _crc8(number)
    n_bits = N_BITS + N_CHECK_BITS
    return (True, False, *(bool(word >> shift & 1) for shift in reversed(range(n_bits))))


def decode(levels: Sequence[float] | NDArray[np.floating[Any]]) -> int | None:
    """Number from the mean brightness of each cell; None when there is no (readable) code.

    Parameters
    ----------
    levels : sequence of float, length :data:`N_CELLS`
        Brightness in 0 to 255, left to right.
    """
    if len(levels) != N_CELLS:
        raise ValueError(f"levels: expected {N_CELLS} values, got {len(levels)}")
    white, black = float(levels[0]), float(levels[1])
    if white - black < MIN_CONTRAST:
        return None
    word = 0
    for level in levels[2:]:
        word = word << 1 | (float(level) > (white + black) / 2)
    number, check = word >> N_CHECK_BITS, word & (1 << N_CHECK_BITS) - 1
    return number if check == _crc8(number) else None


def draw(picture: NDArray[np.uint8], number: int) -> None:
    """Draw the code of ``number`` into ``picture``, shape (H, W, 3), in place."""
    height, width = picture.shape[:2]
    top = height - _row_height_px(height)
    edges = _edges(width)
    for cell, is_white in enumerate(encode(number)):
        picture[top:, edges[cell] : edges[cell + 1]] = 255 if is_white else 0


def cell_levels(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean brightness of the middle of every cell of ``picture``, shape (H, W, 3).

    Returns
    -------
    ndarray, shape (N_CELLS,), float64
        In 0 to 255.
    """
    height, width = picture.shape[:2]
    row_px = _row_height_px(height)
    row = picture[height - row_px + row_px // 4 : height - row_px // 4, :, 1]
    levels = np.empty(N_CELLS)
    for cell in range(N_CELLS):
        x0 = int((cell + 0.25) * width / N_CELLS)
        x1 = max(x0 + 1, int(np.ceil((cell + 0.75) * width / N_CELLS)))
        levels[cell] = row[:, x0:x1].mean()
    return levels


def read(picture: NDArray[np.uint8]) -> int | None:
    """Number drawn into ``picture``, shape (H, W, 3); None when there is none to read."""
    return decode(cell_levels(picture))


def _row_height_px(height_px: int) -> int:
    return max(4, round(height_px * ROW_HEIGHT))


def _edges(width_px: int) -> list[int]:
    return [round(cell * width_px / N_CELLS) for cell in range(N_CELLS + 1)]


def _crc8(number: int) -> int:
    """CRC-8 of the two bytes of ``number``."""
    crc = 0
    for byte in number.to_bytes(2, "big"):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (_CRC_POLYNOMIAL if crc & 0x80 else 0)) & 0xFF
    return crc
