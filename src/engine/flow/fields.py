"""A new field of each kind of flow, at rest but for the small random weights of a network."""

from __future__ import annotations

import torch

from ..maps.preparation import PreparedPair
from ..options.training import TrainingOptions
from .domains import CombinedField, DomainField, SymmetricField
from .symmetry import Symmetry
from .velocity import Field, VelocityField


def new_field(flow: str, options: TrainingOptions, pair: PreparedPair, symmetry: Symmetry | None) -> Field:
    """A field to be trained.

    Args:
        flow: network, domains or both.
        options: depth and width of the network, number of domains, seed.
        pair: whose points the domains are spread over.
        symmetry: that the flow is to keep.
    Raises:
        InputError: there are fewer points than domains.
    """
    if flow == "network":
        return new_network(options, symmetry)
    points = torch.from_numpy((pair.support + 0.5) * pair.voxel).float()
    assert options.n_domains is not None
    domains = DomainField.spread_over(points, options.n_domains, options.seed, symmetry)
    return domains if flow == "domains" else CombinedField(domains, new_network(options, symmetry))


def at_rest() -> DomainField:
    """A field that moves nothing."""
    return DomainField(torch.zeros(1, 3), torch.ones(()), torch.ones(()))


def new_network(options: TrainingOptions, symmetry: Symmetry | None) -> VelocityField | SymmetricField:
    """A network, made symmetric where there is a symmetry."""
    network = VelocityField(options.depth, options.width, options.seed)
    return SymmetricField(network, symmetry) if symmetry else network
