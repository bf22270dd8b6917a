"""A flow of rigid domains: each point follows a mixture of screw motions, chosen once and for all by where it starts.

    dx/dt = Σ_k w_k(x₀) (u_k + ω_k × (x - c_k)),   w_k(x₀) = softmax_k(-|x₀ - c_k|² / 2s²)

with learnt centres c_k, translations u_k and rotations ω_k.  The weights belong to the material, not to the place, so
neighbours may part and domains slide past each other, which the flow of a smooth velocity v(x) cannot do.
Positions are (n, 3), ordered (z, y, x), in units of the longest box side.  The idea is that of polyrigid
transformations: Arsigny, Commowick, Ayache & Pennec, J. Math. Imaging Vis. 33 (2009) 222.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError, named
from .membership import Membership, weights_of
from .nearest import to_nearest
from .screws import Screws
from .symmetry import Symmetry
from .velocity import Field, VelocityField

_Velocity = TypeVar("_Velocity", bound=Callable[[Tensor], Tensor])

_SHARPNESS = 0.35  # s in units of the mean distance from a centre to the next
_LEAST_ARM = 0.1  # of the spacing, for domains of next to one point
_ROUNDS_OF_MEANS = 10
_POINTS_OF_A_DOMAIN = 4  # at least, of a layer's


class DomainField(Field):
    """Screw motions of n domains; `spread_over` makes one at rest for given points."""

    integrator = "exact"

    def __init__(self, centres: Tensor, spread: Tensor, arm: Tensor, symmetry: Symmetry | None = None) -> None:
        """
        Args:
            centres: (n, 3), of the domains that the symmetry does not give.
            spread: scalar, s.
            arm: scalar, a domain's extent: rotations are learnt as velocities at this distance from the centre, so
                that an optimiser's steps turn a domain as far as they shift it.
            symmetry: the motion keeps it; every domain then stands for its images too.
        """
        super().__init__()
        self.centres = nn.Parameter(centres.clone())
        self.translations = nn.Parameter(torch.zeros_like(centres))
        self.rotations = nn.Parameter(torch.zeros_like(centres))
        self.spread: Tensor
        self.arm: Tensor
        self.register_buffer("spread", spread.clone())
        self.register_buffer("arm", arm.clone())
        self.symmetry = symmetry

    @classmethod
    def spread_over(
        cls, points: Tensor, n_domains: int, seed: int = 0, symmetry: Symmetry | None = None
    ) -> DomainField:
        """Domains of about the same extent: farthest points first (Gonzalez 1985), then k-means.

        Args:
            points: (n, 3).
            n_domains: all in all; with a symmetry the next multiple of its order.
            seed: chooses the first centre.
            symmetry: of the points.
        Raises:
            InputError: there are fewer points than domains.
        """
        symmetry = symmetry.to(points) if symmetry else None
        n_images = symmetry.order if symmetry else 1
        wanted = -(-n_domains // n_images)
        if wanted * n_images > len(points):
            raise InputError(
                f"{wanted * n_images} domains ({named('n_domains')}) are too many for {len(points)} points. Use fewer "
                f"domains or a lower binning."
            )
        generator = torch.Generator().manual_seed(seed)
        first = int(torch.randint(len(points), (1,), generator=generator))
        centres = points[first : first + 1]
        apart = to_nearest(points, _images(centres, symmetry))[0]
        while len(centres) < wanted:
            centre = points[apart.argmax()][None]
            centres = torch.cat((centres, centre))
            apart = torch.minimum(apart, to_nearest(points, _images(centre, symmetry))[0])
        for _ in range(_ROUNDS_OF_MEANS):
            centres = _means(points, centres, symmetry)
        images = _images(centres, symmetry)
        apart = torch.cdist(images, images).fill_diagonal_(float("inf")).amin(1)
        centres = _gathered(centres, symmetry)
        arm = to_nearest(points, images)[0].mean()
        spacing = apart.mean() if len(images) > 1 else arm
        arm = torch.maximum(arm, _LEAST_ARM * spacing)
        return cls(centres, _SHARPNESS * spacing, arm, symmetry)

    @classmethod
    def of_screws(cls, centres: Tensor, turns: Tensor, velocities: Tensor, extent: float) -> DomainField:
        """Domains that move already.

        Args:
            centres: (n, 3), at least two.
            turns: (n, 3), ω: axis times radians from t = 0 to 1.
            velocities: (n, 3), u: of the centres.
            extent: mean distance of a point from the nearest centre.
        """
        apart = torch.cdist(centres, centres).fill_diagonal_(float("inf")).amin(1)
        arm = torch.as_tensor(extent).to(centres).maximum(_LEAST_ARM * apart.mean())
        field = cls(centres, _SHARPNESS * apart.mean(), arm)
        with torch.no_grad():
            field.rotations.copy_(turns * arm)
            field.translations.copy_(velocities)
        return field

    def weights(self, start: Tensor) -> Tensor:
        """How much of a point's motion is that of each domain; (n, 3) → (n, n_domains), rows sum to 1."""
        return weights_of(start, _images(self.centres, self.symmetry), self.spread)

    def at(self, start: Tensor) -> Screws:
        """The velocity of the points that start at `start`, (n, 3)."""
        return self._screws(self.weights(start).matmul)

    def fixed_to(self, start: Tensor) -> DomainField | _Fixed[Screws]:
        """As in `Field`; only where the centres are held."""
        if self.centres.requires_grad or start.device.type == "mps":  # whose sums over lists not all PyTorchs have
            return self
        membership = Membership(start, _images(self.centres, self.symmetry), self.spread)
        return _Fixed(self.integrator, lambda: self._screws(membership.blended))

    @property
    def n_domains(self) -> int:
        """All in all."""
        return len(self.centres) * (self.symmetry.order if self.symmetry else 1)

    def hold_centres(self) -> None:
        """Train the motions alone from now on: where domains meet is settled."""
        self.centres.requires_grad_(False)

    def of_all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of all domains, (n_domains, 3) each: centre c, turn ω, and u, the centre's velocity."""
        turns = _turned(self.rotations, self.symmetry) / self.arm
        return _images(self.centres, self.symmetry), turns, _turned(self.translations, self.symmetry)

    def _screws(self, blended: Callable[[Tensor], Tensor]) -> Screws:
        centres, turns, velocities = self.of_all()
        at_origin = velocities - torch.linalg.cross(turns, centres)
        turn, shift = blended(torch.cat((turns, at_origin), dim=1)).split(3, dim=1)
        return Screws(turn, shift)


class LayeredField(Field):
    """Domains, and smaller ones on top for what moves a little within them: the sum of both velocities."""

    integrator = "exact"

    def __init__(self, large: DomainField, small: DomainField) -> None:
        super().__init__()
        self.large, self.small = large, small

    @classmethod
    def upon(cls, domains: DomainField, points: Tensor, times: int, seed: int) -> LayeredField:
        """The same flow, with so many times more domains at rest upon it.

        Args:
            domains: that move already.
            points: (n, 3), over which the small ones are spread.
            times: small domains for each large one, if there are points enough.
            seed: chooses the first centre.
        """
        n_small = min(times * domains.n_domains, max(domains.n_domains, len(points) // _POINTS_OF_A_DOMAIN))
        return cls(domains, DomainField.spread_over(points, n_small, seed, domains.symmetry))

    @property
    def symmetry(self) -> Symmetry | None:
        return self.large.symmetry

    def at(self, start: Tensor) -> Screws:
        """The velocity of the points that start at `start`, (n, 3)."""
        return self.large.at(start) + self.small.at(start)

    def fixed_to(self, start: Tensor) -> Field:
        """As in `Field`."""
        large, small = self.large.fixed_to(start), self.small.fixed_to(start)
        return _Fixed(self.integrator, lambda: large.at(start) + small.at(start))

    @property
    def n_domains(self) -> int:
        """Large and small ones."""
        return self.large.n_domains + self.small.n_domains

    def hold_centres(self) -> None:
        """As in `DomainField`."""
        self.large.hold_centres()
        self.small.hold_centres()


class CombinedField(Field):
    """Domains, and a network on top for what is smooth: the sum of both velocities."""

    integrator = "midpoint"

    def __init__(self, domains: DomainField, network: VelocityField | SymmetricField) -> None:
        super().__init__()
        self.domains, self.network = domains, network

    @property
    def symmetry(self) -> Symmetry | None:
        return self.domains.symmetry

    def at(self, start: Tensor) -> Callable[[Tensor], Tensor]:
        """The velocity of the points that start at `start`, (n, 3)."""
        of_domains, of_network = self.domains.at(start), self.network.at(start)
        return lambda points: of_domains(points) + of_network(points)

    def fixed_to(self, start: Tensor) -> Field:
        """As in `Field`."""
        domains = self.domains.fixed_to(start)

        def velocity() -> Callable[[Tensor], Tensor]:
            of_domains, of_network = domains.at(start), self.network.at(start)
            return lambda points: of_domains(points) + of_network(points)

        return _Fixed(self.integrator, velocity)

    @property
    def n_domains(self) -> int:
        """Beside the network."""
        return self.domains.n_domains

    def hold_centres(self) -> None:
        """As in `DomainField`."""
        self.domains.hold_centres()


class _Fixed(Field, Generic[_Velocity]):
    """A field for the points that it was made for, and no others: `velocity` gives theirs anew in each step."""

    of_all_points = True

    def __init__(self, integrator: str, velocity: Callable[[], _Velocity]) -> None:
        super().__init__()
        self.integrator = integrator
        self._velocity = velocity

    def at(self, start: Tensor) -> _Velocity:
        """The velocity of the points that it was made for."""
        return self._velocity()


class SymmetricField(Field):
    """A network made symmetric: the mean of its velocities at a point's images, each turned back."""

    integrator = "euler"

    def __init__(self, network: VelocityField, symmetry: Symmetry) -> None:
        super().__init__()
        self.network, self.symmetry = network, symmetry

    def at(self, start: Tensor) -> Callable[[Tensor], Tensor]:
        """The velocity, which is the same for all points that come to a place."""
        symmetry = self.symmetry.to(start)

        def velocity(points: Tensor) -> Tensor:
            images = symmetry.images(points)  # (g, n, 3)
            at_images = self.network(images.reshape(-1, 3)).reshape(images.shape)
            return torch.einsum("gni,gij->nj", at_images, symmetry.rotations) / symmetry.order

        return velocity


def _images(centres: Tensor, symmetry: Symmetry | None) -> Tensor:
    """The centres and what the symmetry makes of them, (g·n, 3)."""
    return symmetry.to(centres).images(centres).reshape(-1, 3) if symmetry else centres


def _gathered(centres: Tensor, symmetry: Symmetry | None) -> Tensor:
    """Of each centre the image that is nearest to the first one, so that together they make one compact unit."""
    if symmetry is None:
        return centres
    images = symmetry.images(centres)  # (g, n, 3)
    nearest = (images - centres[0]).norm(dim=2).argmin(0)
    return images[nearest, torch.arange(len(centres))]


def _turned(vectors: Tensor, symmetry: Symmetry | None) -> Tensor:
    """Vectors that belong to the centres, in the order of `_images`."""
    if symmetry is None:
        return vectors
    return torch.einsum("gij,nj->gni", symmetry.to(vectors).rotations, vectors).reshape(-1, 3)


def _means(points: Tensor, centres: Tensor, symmetry: Symmetry | None) -> Tensor:
    """The mean of the points nearest to each centre or its images, the latter brought back."""
    nearest = to_nearest(points, _images(centres, symmetry))[1]
    image, domain = nearest // len(centres), nearest % len(centres)
    if symmetry:
        points = torch.einsum("ni,nij->nj", points - symmetry.centre, symmetry.rotations[image]) + symmetry.centre
    sums = torch.zeros_like(centres).index_add_(0, domain, points)
    counts = torch.bincount(domain, minlength=len(centres))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centres)
