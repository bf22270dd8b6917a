"""How long a run will take and how much memory it will need, from the size of the molecule and of the box.

Told before anything is computed, from what runs of known pairs took (docs/performance.md, docs/reliability.md): with
recipe auto the time of docking and of refinement grows with the molecule's volume.  Memory grows with the box, whatever
the recipe, as most goes into comparing the maps at their full size.  How many steps a pair needs nobody knows, so the
time is a range.
"""

from __future__ import annotations

from typing import NamedTuple

from .options.choices import N_EULER_STEPS

_START = 15.0  # s, whatever the size
_SECONDS = 1 / 800  # for each Å³ of the molecule, on two cores
_LONGEST = 2.5  # times the shortest
_STEP, _STEP_OF_POINT = 0.02, 2.2e-5  # s of a step of the published settings, and for each point

# Bytes: of Python and PyTorch; for each voxel of the box at the highest, and while a step is made; of a large box with
# recipe auto, whose steps work on coarser ones, so much and for each voxel; a network's outputs, which integration.py
# keeps for the derivative if they are no more than this.
_TRAINING, _OF_VOXEL, _OF_VOXEL_IN_STEP = 0.43e9, 135.0, 100.0
_OF_LARGE_BOX, _OF_VOXEL_OF_LARGE_BOX = 0.35e9, 26.0
_PREDICTION, _OF_VOXEL_IN_PREDICTION, _OF_PLACE = 0.27e9, 30.0, 450.0  # the last of each atom in each frame
_OF_VOXEL_ON_GPU, _OF_POINT_ON_GPU = 8.0, 100.0  # that there are for certain: two grids, and positions
_FLOAT, _MOST_KEPT = 4, 1 << 29
_MOST_POINTS = 15_000  # of recipe auto, which bins
_SURE = 0.7  # of what is free: a run that is said to need no more will have enough, as near as the estimate is


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
        return gigabytes(self.memory)


def outlook_of(n_points: int, n_voxels: int, volume: float) -> Outlook:
    """
    Args:
        n_points: voxels of the initial map above its level.
        n_voxels: of the box.
        volume: Å³ of the molecule.
    """
    shortest = _START + _SECONDS * volume
    step = _STEP + _STEP_OF_POINT * n_points
    return Outlook(shortest, _LONGEST * shortest, step, memory_of_training(n_voxels, n_points))


def memory_of_training(n_voxels: int, n_points: int, recipe: str = "auto", width: int = 100, depth: int = 3) -> float:
    """Bytes that a training will have at its highest, the program and all that follows the last step among them.

    Args:
        n_voxels: of the box, as the maps come.
        n_points: of the initial map above its level, after the user's binning.
        recipe, width, depth: as the options are.
    """
    of_voxel = _OF_VOXEL
    if recipe == "auto":
        n_points = min(n_points, _MOST_POINTS)
        of_voxel = min(_OF_VOXEL, _OF_VOXEL_OF_LARGE_BOX + _OF_LARGE_BOX / max(1, n_voxels))
    kept = N_EULER_STEPS * n_points * width * (depth - 1) * _FLOAT
    kept = kept if kept <= _MOST_KEPT else 0
    return _TRAINING + max(of_voxel * n_voxels, min(of_voxel, _OF_VOXEL_IN_STEP) * n_voxels + kept)


def memory_of_prediction(n_voxels: int, n_places: int = 0) -> float:
    """The same of a prediction, however many its frames: one map is held at a time, and one is being written.

    Args:
        n_voxels: of the box.
        n_places: of all atoms in all frames.
    """
    return _PREDICTION + _OF_VOXEL_IN_PREDICTION * n_voxels + _OF_PLACE * n_places


def least_memory_on_gpu(n_voxels: int, n_points: int) -> float:
    """Bytes without which there is no step; how many more it takes has not been measured."""
    return _OF_VOXEL_ON_GPU * n_voxels + _OF_POINT_ON_GPU * n_points


def gigabytes(n_bytes: float) -> str:
    """As "0.5 GB"."""
    return f"{n_bytes / 1e9:.1f} GB"


def is_enough(needed: float, room: float) -> bool:
    """Whether so much room is surely enough, as near as the estimate of what is needed is."""
    return needed <= _SURE * room


def _minutes(seconds: float) -> str:
    return f"{_tens(seconds)} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _tens(seconds: float) -> int:
    return max(10, 10 * round(seconds / 10))
