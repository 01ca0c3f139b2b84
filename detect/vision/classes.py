"""Names of the objects models know."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType

# The 80 classes of COCO 2017 (https://cocodataset.org), in the order every model here uses, each
# after its number in the 91-number scheme of the annotation files, which SSD models speak.
_COCO = """
1 person, 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat,
10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench, 16 bird, 17 cat,
18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, 24 zebra, 25 giraffe, 27 backpack,
28 umbrella, 31 handbag, 32 tie, 33 suitcase, 34 frisbee, 35 skis, 36 snowboard, 37 sports ball,
38 kite, 39 baseball bat, 40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket,
44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl, 52 banana, 53 apple,
54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake, 62 chair,
63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet, 72 tv, 73 laptop, 74 mouse,
75 remote, 76 keyboard, 77 cell phone, 78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator,
84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier, 90 toothbrush
"""
_COCO_PAIRS = [item.strip().split(" ", 1) for item in _COCO.replace("\n", " ").split(",")]

COCO_80: tuple[str, ...] = tuple(name for _, name in _COCO_PAIRS)
"""The COCO class names, in model order."""

COCO_IDS: tuple[int, ...] = tuple(int(number) for number, _ in _COCO_PAIRS)
"""Annotation number (1-90) of each of :data:`COCO_80`."""

CLASS_LISTS: Mapping[str, tuple[str, ...]] = MappingProxyType({"coco-80": COCO_80})
"""Class lists the registry may name."""

_MAX_NAMES_CHARS = 100_000
_MAX_NAME_CHARS = 64


def class_names(metadata: Mapping[str, str], n_classes: int) -> tuple[str, ...]:
    """Names of a model's classes: its own where the file carries them, COCO's for 80, else numbers.

    Parameters
    ----------
    metadata : mapping of str to str
        Custom metadata of the ONNX file. ``names`` is understood as the dictionary or list literal
        that Ultralytics' exporter writes (``{0: 'person', …}``).
    n_classes : int
        How many classes the output shape says there are.
    """
    own = names_in_metadata(metadata)
    if len(own) == n_classes:
        return own
    return COCO_80 if n_classes == len(COCO_80) else tuple(f"class {i}" for i in range(n_classes))


def names_in_metadata(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Class names in the file's metadata; empty when there are none or they are malformed."""
    text = metadata.get("names", "")
    if not text or len(text) > _MAX_NAMES_CHARS:
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            return ()
        value = [value[i] for i in range(len(value))]
    if not isinstance(value, list | tuple):
        return ()
    return tuple(str(name)[:_MAX_NAME_CHARS] for name in value)
