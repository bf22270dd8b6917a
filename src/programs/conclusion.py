"""What a training run leaves behind at its end for people to judge it by: maps of the motion and the report.

displacement.mrc, volume_change.mrc, strain.mrc, residual.mrc    see engine/judging/motion_maps.py
witness.mrc    Å, where docked pieces doubt the flow: how far from it they fit better; else 0
confidence.mrc    how far to believe the morph, from 0 to 1, see engine/judging/confidence.py
without_partner.mrc    1 in parts of the initial map that have no partner, -1 in such of the target; if there are any
domains.mrc, domains.json    the parts that move as rigid bodies, see engine/judging/domain_table.py
motion.npz     start and end, (n, 3) float32 each: x, y, z in Å in the initial map's frame, of some of the points
report.html    see report/report.py
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.files.run_directory import RunDirectory
from ..engine.files.writing import write_atomically
from ..engine.judging.domain_table import DOMAINS_FILE, LABELS_FILE, rows_of, write_rows
from ..engine.judging.measures import CONFIDENCE_FILE
from ..engine.judging.whole_motion import whole_motion
from ..engine.maps.density_map import DensityMap
from ..engine.maps.mrc_file import write_map
from .allocator import give_freed_memory_back
from .history import Compared
from .progress import Reporter
from .report.contents import Motion
from .report.report import REPORT_FILE, write_report

if TYPE_CHECKING:
    from ..engine.judging.comparison import Comparison, Measured
    from ..engine.judging.motion_maps import Nearest

PARTNERS_FILE = "without_partner.mrc"
WITNESS_FILE = "witness.mrc"
MOTION_FILES = (
    "displacement.mrc",
    "volume_change.mrc",
    "strain.mrc",
    "residual.mrc",
    WITNESS_FILE,
    CONFIDENCE_FILE,
    PARTNERS_FILE,
    LABELS_FILE,
    DOMAINS_FILE,
    "motion.npz",
)
_MOST_ARROWS = 2000


def conclude(
    run: RunDirectory,
    compared: Compared,
    measured: Measured,
    reporter: Reporter,
    witness: dict[str, Any] | None = None,
    confidence: NDArray[np.float64] | None = None,
) -> None:
    """Write all of them for one checkpoint, after run.json has been; what cannot be written is said and left out.

    Args:
        run: where they go.
        compared: the maps.
        measured: what was measured of that checkpoint.
        reporter: is told where the report is, and what is missing.
        witness: of that checkpoint, as run.json has it.
        confidence: (n,), of each of its points.
    """
    from ..engine.docking.partners import map_of_parts
    from ..engine.judging.motion_maps import motion_maps, nearest_points, spread_over, write_motion_maps

    initial, target, target_level, blur, comparison = compared[:5]
    nearest = nearest_points(comparison.support, initial.grid_shape, initial.voxel_size)
    with reporter.doing_without("The maps of the motion"):
        write_motion_maps(run.path, motion_maps(initial, target, target_level, nearest, measured, blur))
    give_freed_memory_back()  # what the residual took
    if witness is not None:
        from ..engine.judging.witness import doubt_at

        with reporter.doing_without(WITNESS_FILE):
            doubt = doubt_at(witness, comparison.support, initial)
            write_map(run / WITNESS_FILE, spread_over(initial, nearest, doubt))
    if confidence is not None:
        with reporter.doing_without(CONFIDENCE_FILE):
            write_map(run / CONFIDENCE_FILE, spread_over(initial, nearest, confidence))
    if comparison.without_partner:
        with reporter.doing_without(PARTNERS_FILE):
            write_map(run / PARTNERS_FILE, map_of_parts(comparison.without_partner, initial))
    with reporter.doing_without("The domains"):
        write_domains(run, initial, comparison, measured, nearest)
    with reporter.doing_without(MOTION_FILES[-1]):
        _write_motion(run, initial, comparison, measured)
    del nearest
    give_freed_memory_back()  # and the domains
    with reporter.doing_without("The report"):
        places = comparison.support * np.array(initial.voxel_size)
        whole = whole_motion(places, measured.displacement, comparison.weights)
        if whole.is_large:
            reporter.warning(
                f"{whole.text()} If that is not the motion you look for, {target.name} was not fitted to "
                f"{initial.name}: fit it first and train again (in ChimeraX: fitmap #2 inMap #1)."
            )
        motion = Motion(comparison.weights, measured.displacement, measured.volume_change, whole)
        step = measured.measures.step
        reporter.note(write_report(run / REPORT_FILE, run, initial, target, measured.generated, step, motion))


def write_domains(
    run: RunDirectory, initial: DensityMap, comparison: Comparison, measured: Measured, nearest: Nearest
) -> None:
    """Find the rigid domains of the flow that was measured, and write both files; `nearest`: see `nearest_points`."""
    from ..engine.judging.motion_maps import spread_over
    from ..engine.judging.rigid_domains import rigid_domains
    from ..engine.maps.mrc_file import write_map

    support, size = comparison.support, initial.voxel_size
    found = rigid_domains(support, measured.displacement, comparison.weights, size, initial.origin)
    write_map(run / LABELS_FILE, spread_over(initial, nearest, found.labels + 1.0))
    write_rows(run / DOMAINS_FILE, rows_of(found))


def _write_motion(run: RunDirectory, initial: DensityMap, comparison: Comparison, measured: Measured) -> None:
    every = -(-len(comparison.support) // _MOST_ARROWS)
    start = comparison.support[::every] * np.array(initial.voxel_size) + np.array(initial.origin)
    end = start + measured.displacement[::every]
    buffer = io.BytesIO()
    np.savez(buffer, start=start[:, ::-1].astype(np.float32), end=end[:, ::-1].astype(np.float32))
    write_atomically(run / MOTION_FILES[-1], buffer.getvalue())
