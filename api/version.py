"""Which Tallystick this is."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """The installed version; ``0`` when it runs from a source tree that is not installed."""
    try:
        return importlib.metadata.version("tallystick")
    except importlib.metadata.PackageNotFoundError:
        return "0"
