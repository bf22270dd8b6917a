"""What run.json says of files, versions and time, so that a run can be told from another and be repeated."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..engine.maps.density_map import DensityMap

if TYPE_CHECKING:
    from ..engine.docking.partners import Part


def describe(density_map: DensityMap, path: str, level: float) -> dict[str, Any]:
    return {**describe_file(path), "level": level, **describe_grid(density_map)}


def describe_file(path: str) -> dict[str, Any]:
    return {"path": str(Path(path).absolute()), "sha256": digest(path)}


def describe_grid(density_map: DensityMap) -> dict[str, Any]:
    return {
        "name": density_map.name,
        "grid_shape": list(density_map.grid_shape),
        "voxel_size": [round(float(size), 6) for size in density_map.voxel_size],
        "origin": [round(float(place), 6) for place in density_map.origin],
    }


def describe_parts(parts: Sequence[Part], initial: str, target: str) -> list[dict[str, Any]]:
    """What has no partner in the other map, of these names; places x, y, z in Å."""
    if not parts:
        return []
    from ..engine.docking.partners import partner_text

    return [
        {
            "of": part.of,
            "share": round(part.share, 4),
            "centre": [round(place, 1) for place in part.centre[::-1]],
            "text": partner_text(part, initial, target),
        }
        for part in parts
    ]


def digest(path: str) -> str | None:
    """SHA-256 of a file; None for a pipe, which cannot be read twice."""
    if not Path(path).is_file():
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    import numpy
    import torch

    return {
        "cryotrans": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
    }


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
