"""What is measured at a checkpoint."""

from __future__ import annotations

from typing import NamedTuple

CONFIDENCE_FILE = "confidence.mrc"
BELIEVED = 0.5  # of a confidence from 0 to 1; below, a place is called doubtful


class Measures(NamedTuple):
    """Of one checkpoint; not a number where not taken.  Generated is the initial map carried to t = 1."""

    step: int
    seconds: float  # s, since training began
    loss: float  # as printed
    correlation: float  # of generated and target about zero, -1 to 1, see equal_terms.py
    resolution: float  # Å, where their shell correlation falls below 0.5
    transport_distance: float  # Å, root mean square way that the mass of one must go to become the other
    mass_outside: float  # share of the mass that has left the box, 0 to 1
    volume_change_low: float  # det dx(1)/dx(0): 1st percentile of the mass; 1 is no change
    volume_change_high: float  # 99th percentile
    largest_stretch: float  # largest ratio of a length to what it was, 99.9th percentile: no single point decides
    folded: float  # share of the mass where space is turned inside out, det ≤ 0
    strain: float  # distance of dx(1)/dx(0) from the nearest rotation, see `overall_strain`; 0 is rigid
    held_out: float  # correlation about zero on voxels that training did not see, -1 to 1
    validation: float  # Å, resolution at 0.5 against another map
