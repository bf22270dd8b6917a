"""What a training run leaves behind at its end for people to judge it by: maps of the motion and the report.

displacement.mrc, volume_change.mrc, strain.mrc, residual.mrc    see engine/motion_maps.py
motion.npz     start and end, (n, 3) float32 each: x, y, z in Å in the initial map's frame, of some of the points
report.html    see report.py
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from .engine.density_map import DensityMap
from .engine.run_directory import RunDirectory, write_atomically
from .record import Compared
from .report import REPORT_FILE, Motion, write_report

if TYPE_CHECKING:
    from .engine.measures import Judge, Judgement

MOTION_FILES = ("displacement.mrc", "volume_change.mrc", "strain.mrc", "residual.mrc", "motion.npz")
_MOST_ARROWS = 2000


def conclude(run: RunDirectory, compared: Compared, judgement: Judgement) -> str:
    """Write all of them for one checkpoint, after run.json has been.

    Args:
        run: where they go.
        compared: the maps.
        judgement: what was measured of that checkpoint.
    Returns:
        A sentence for the user.
    Raises:
        OSError, InputError: one cannot be written.
    """
    from .engine.motion_maps import motion_maps, write_motion_maps

    initial, target, target_level, blur, judge = compared
    write_motion_maps(run.path, motion_maps(initial, target, target_level, judge.support, judgement, blur))
    _write_motion(run, initial, judge, judgement)
    motion = Motion(judge.weights, judgement.displacement, judgement.volume_change)
    step = judgement.measures.step
    return write_report(run / REPORT_FILE, run, initial, target, judgement.generated, step, motion)


def _write_motion(run: RunDirectory, initial: DensityMap, judge: Judge, judgement: Judgement) -> None:
    every = -(-len(judge.support) // _MOST_ARROWS)
    start = judge.support[::every] * np.array(initial.voxel_size) + np.array(initial.origin)
    end = start + judgement.displacement[::every]
    buffer = io.BytesIO()
    np.savez(buffer, start=start[:, ::-1].astype(np.float32), end=end[:, ::-1].astype(np.float32))
    write_atomically(run / MOTION_FILES[-1], buffer.getvalue())
