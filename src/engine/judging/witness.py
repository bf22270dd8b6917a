"""An independent witness of a flow: pieces of the initial docked into the target, and where the flow takes them.

A flow is trained until the target is explained, so that it is, right or wrong, has little to say.  Docking knows
nothing of the flow: what lies round a centre is looked for in the target over all turns and places, at the target's
own detail.  Single poses are not to be trusted, two lobes may look alike; so a piece speaks against the flow only if it
fits ill where the flow takes it and far better elsewhere:

    fit        local correlation of the piece with what lies where the flow takes each of its voxels
    rigid fit  the same where the rigid motion nearest to the flow takes the piece as a whole
    best       the highest that was found: docked, or uphill from where the flow takes it

The fit of a right flow depends on noise and resolution, but not on the place: what is usual is the upper quartile of
the pieces' fits, and all is measured by it.  The limits part pieces that lay right (within 2 Å) and wrong (beyond 3 Å)
in trainings of nine pairs of maps, finished and broken off, see docs/accuracy.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..docking.coarse import CoarsePair, coarse_pair
from ..docking.motions import Motions, best_motion
from ..docking.pieces import cut, points_above
from ..docking.search import Mask, correlation, dock, refine
from ..flow.integration import displacement
from ..flow.velocity import Field
from ..maps.density_map import DensityMap
from ..maps.sampling import sample

_MOLECULE = 0.2  # of the maximum: voxels that pieces are cut from, and where they may go
_PIECE = 4500.0  # Å³ a centre; neighbouring balls overlap
_FEWEST, _MOST = 8, 40  # pieces
_BALL = 12.0  # Å, radius: 60 residues or so
_FINE_VOXEL = 2.0  # Å, at least, where fits are compared
_TURNS = 1200  # 15° apart
_VOXELS_AT_ONCE = 1 << 13
_POSES, _FINE_POSES = 5, 2  # of each piece, that are moved uphill in the coarse maps, and of these in the fine ones
_BETTER = 0.15  # correlation by which another pose must fit better than the piece as a whole where the flow takes it
_BETTER_THAN_BENT = 0.05  # and better than as the flow bends it: where domains meet, no rigid pose fits as well as that
_ELSEWHERE = 3.0  # Å from where the flow takes the piece
_FITS_ILL, _FITS_NOWHERE = 0.85, 0.7  # of the usual fit


class Piece(NamedTuple):
    """A ball of the initial.

    Attributes:
        centre: (3,), voxel (z, y, x) of the initial, not whole.
        share: of the mass that is nearer to this centre than to others.
        fit: see above.
        best: the highest local correlation that was found.
        apart: Å, root mean square distance of that pose from where the flow takes the piece; of its nearest image
            where the flow keeps a symmetry.
        against: it fits ill where the flow takes it, and far better elsewhere.
        unexplained: it fits hardly at all where the flow takes it.
    """

    centre: NDArray[np.float64]
    share: float
    fit: float
    best: float
    apart: float
    against: bool
    unexplained: bool


class Witness(NamedTuple):
    """What all pieces say.

    Attributes:
        pieces: in no order.
        usual: the fit that is usual.
    """

    pieces: list[Piece]
    usual: float

    @property
    def doubted(self) -> float:
        """The share of the mass in pieces that do not fit where the flow takes them."""
        return sum(piece.share for piece in self.pieces if piece.against or piece.unexplained)

    def to_dict(self, initial: DensityMap) -> dict[str, Any]:
        """For run.json: places are x, y, z in Å in the frame of the initial map."""
        pieces = []
        for piece in self.pieces:
            place = piece.centre * np.array(initial.voxel_size) + np.array(initial.origin)
            pieces.append(
                {
                    "place": [round(float(x), 1) for x in place[::-1]],
                    "share": round(piece.share, 4),
                    "fit": round(piece.fit, 3),
                    "best": round(piece.best, 3),
                    "apart": round(piece.apart, 1),
                    "doubt": "elsewhere" if piece.against else "nowhere" if piece.unexplained else None,
                }
            )
        return {"doubted": round(self.doubted, 4), "usual": round(self.usual, 3), "pieces": pieces}


def doubt_at(told: dict[str, Any], support: NDArray[np.int64], initial: DensityMap) -> NDArray[np.float64]:
    """How far, in Å, the piece nearest to each voxel (n, 3) fits better from where the flow takes it; 0 without doubt.

    Args:
        told: what `Witness.to_dict` made.
    """
    pieces = told["pieces"]
    places = np.array([piece["place"][::-1] for piece in pieces])
    voxels = (places - np.array(initial.origin)) / np.array(initial.voxel_size)
    values = np.array([max(piece["apart"], _ELSEWHERE) if piece["doubt"] else 0.0 for piece in pieces])
    nearest = np.empty(len(support), np.int64)
    for rows in np.array_split(np.arange(len(support)), 1 + len(support) // _VOXELS_AT_ONCE):
        nearest[rows] = ((support[rows, None] - voxels) ** 2).sum(2).argmin(1)
    return values[nearest]


def witness_of(
    initial: DensityMap,
    target: DensityMap,
    levels: tuple[float, float],
    target_blur: float,
    field: Field,
    device: torch.device,
    seed: int = 0,
) -> Witness:
    """Dock pieces of the initial and compare.

    Args:
        initial, target: on one grid.
        levels: contour level of each.
        target_blur: Å, standard deviation of the Gaussian that makes the initial as coarse as the target.
        field: the flow.
        device: where to compute; Apple's GPUs leave it to the CPU.
        seed: chooses the first centre.
    """
    device = torch.device("cpu") if device.type == "mps" else device
    coarse = coarse_pair(initial, target, levels, target_blur, device)
    fine = coarse_pair(initial, target, levels, target_blur, device, 0.0, _FINE_VOXEL)
    points, weights = points_above(coarse.initial, _MOLECULE)
    n_pieces = round(len(points) * coarse.voxel**3 / _PIECE)
    pieces = cut(points, weights, min(max(_FEWEST, n_pieces), _MOST), seed)
    ratio = coarse.ratio / fine.ratio
    centres = pieces.centres * ratio
    ball = Mask(_BALL / fine.voxel, fine.initial)
    balls = centres[:, None] + ball.offsets  # (k, m, 3)
    ends = _carried(field.to(device), balls, fine, initial.grid_shape)
    mass = ball.weights * sample(fine.initial, balls).clamp(min=0)
    flow = best_motion(balls, ends, mass).about(centres)
    fits = (ball.ready(sample(fine.initial, balls)) * ball.ready(sample(fine.target, ends))).sum(-1)
    rigid_fits = correlation(ball, fine.initial, fine.target, flow)
    uphill, uphill_fits = refine(fine.initial, fine.target, flow, ball)
    docked, docked_fits = _docked(coarse, fine, pieces.centres, ratio, ball)
    shares = torch.zeros(len(centres)).to(weights).index_add_(0, pieces.owner, weights) / weights.sum()
    usual = float(torch.maximum(fits, rigid_fits).quantile(0.75))
    symmetry = getattr(field, "symmetry", None)
    symmetry = None if symmetry is None else symmetry.to(balls)
    found = []
    for k in range(len(centres)):
        own = torch.nonzero((docked.centres - centres[k]).norm(dim=1) < 1e-3)[:, 0]
        at = int(own[docked_fits[own].argmax()])
        best, pose = float(docked_fits[at]), docked.chosen([at])
        if float(uphill_fits[k]) >= best:
            best, pose = float(uphill_fits[k]), uphill.chosen([k])
        there, wanted = pose.moved(balls[k])[0], flow.chosen([k]).moved(balls[k])[0]
        if symmetry is not None:  # of the target: a piece fits as well at every image of a place
            there = fine.from_box(symmetry.images(fine.to_box(there, initial.grid_shape)), initial.grid_shape)
        squares = (there - wanted).square().sum(-1) @ mass[k] / mass[k].sum()  # of each image
        apart = math.sqrt(float(squares.min())) * fine.voxel
        fit, rigid = float(fits[k]), float(rigid_fits[k])
        elsewhere = apart > _ELSEWHERE and best > rigid + _BETTER
        ill_here = fit < _FITS_ILL * usual and best > fit + _BETTER_THAN_BENT
        against = elsewhere and (ill_here or best > max(fit, rigid) + _BETTER)
        ill = max(fit, rigid) < _FITS_NOWHERE * usual
        place = (centres[k] * fine.ratio).cpu().double().numpy()
        found.append(Piece(place, float(shares[k]), max(fit, rigid), best, apart, against, ill))
    return Witness(found, usual)


def _carried(field: Field, balls: Tensor, fine: CoarsePair, grid_shape: tuple[int, int, int]) -> Tensor:
    """Where the flow takes positions (k, m, 3), in voxels of the pair."""
    starts = fine.to_box(balls.reshape(-1, 3), grid_shape)
    with torch.no_grad():
        moved = displacement(field, starts.float())
    return fine.from_box(starts + moved, grid_shape).reshape(balls.shape)


def _docked(coarse: CoarsePair, fine: CoarsePair, centres: Tensor, ratio: float, ball: Mask) -> tuple[Motions, Tensor]:
    """The best poses of what lies round the centres, found in the coarse maps and moved uphill in the fine ones."""
    places, _ = points_above(coarse.target, _MOLECULE * float(coarse.target.max()))
    coarse_ball = Mask(_BALL / coarse.voxel, coarse.initial)
    poses, _ = dock(coarse.initial, coarse.target, centres, places, coarse_ball, _TURNS, (_POSES, 0), coarse.voxel)
    poses, fits = refine(coarse.initial, coarse.target, poses, coarse_ball)
    best = []
    for centre in centres:
        own = torch.nonzero((poses.centres - centre).norm(dim=1) < 1e-3)[:, 0]
        best.append(own[fits[own].argsort(descending=True)[:_FINE_POSES]])
    return refine(fine.initial, fine.target, poses.chosen(torch.cat(best)).scaled(ratio), ball)
