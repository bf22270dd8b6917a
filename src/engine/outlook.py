"""How long a training will take and how much memory it will need, from the size of the molecule and of the box.

Told before anything is computed, from what runs of known pairs took (docs/performance.md): with recipe auto the time of
docking and of refinement grows with the molecule's volume, memory with the box.  How many steps a pair needs nobody
knows beforehand, so that the time is a range.
"""

from __future__ import annotations

from typing import NamedTuple

_START = 15.0  # s, whatever the size
_SECONDS = 1 / 800  # for each Å³ of the molecule, on two cores
_LONGEST = 2.5  # times the shortest
_STEP, _STEP_OF_POINT = 0.02, 2.2e-5  # s of a step of the published settings, and for each point
_BYTES, _BYTES_OF_VOXEL = 0.45e9, 120.0


class Outlook(NamedTuple):
    """What is to be expected on a CPU of two cores."""

    shortest: float  # s, of recipe auto
    longest: float  # s
    step: float  # s, of the published settings
    memory: float  # bytes

    def time_text(self, by_hand: bool = False) -> str:
        """As "1 to 3 minutes"; of the published settings, of a thousand steps."""
        if by_hand:
            return f"About {_minutes(1000 * self.step)} for 1,000 steps"
        if self.longest < 90:
            return f"{_tens(self.shortest)} to {_tens(self.longest)} seconds"
        return f"{max(1, round(self.shortest / 60))} to {max(2, round(self.longest / 60))} minutes"

    def memory_text(self) -> str:
        """As "0.5 GB"."""
        return f"{self.memory / 1e9:.1f} GB"


def outlook_of(n_points: int, n_voxels: int, volume: float) -> Outlook:
    """
    Args:
        n_points: voxels of the initial map above its level.
        n_voxels: of the box.
        volume: Å³ of the molecule.
    """
    shortest = _START + _SECONDS * volume
    step = _STEP + _STEP_OF_POINT * n_points
    return Outlook(shortest, _LONGEST * shortest, step, _BYTES + _BYTES_OF_VOXEL * n_voxels)


def _minutes(seconds: float) -> str:
    return f"{_tens(seconds)} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _tens(seconds: float) -> int:
    return max(10, 10 * round(seconds / 10))
