"""Which version this is."""

from __future__ import annotations

from importlib import metadata

CHECKOUT = "0+checkout"


def package_version() -> str:
    """Version of this package; :data:`CHECKOUT` where it runs from a checkout, not installed."""
    try:
        return metadata.version("detect-live")
    except metadata.PackageNotFoundError:
        return CHECKOUT
