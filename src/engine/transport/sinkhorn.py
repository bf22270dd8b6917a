"""Entropic optimal transport between two densities on one grid.

Densities and potentials are (nz, ny, nx); lengths are in voxels, so the cost of moving mass from voxel x to voxel y is
|x - y|² voxels² and `epsilon` is in voxels² too.  With a the initial and b the target density, both raised to `FLOOR`
where they are empty, f and g the potentials and K = exp(-|x - y|²/epsilon), one Sinkhorn round is

    (1)  exp(f/epsilon) = a / K exp(g/epsilon)
    (2)  exp(g/epsilon) = b / K exp(f/epsilon)

from g = 0.  The dual value, which is the loss, is

    (3)  <f, a> + <g, b> - epsilon sum(exp(f/epsilon) K exp(g/epsilon))

where empty voxels count as 0 in the first two terms, and its derivative with respect to a is f (envelope theorem).
Cuturi, NeurIPS 2013; Peyré & Cuturi, Computational Optimal Transport (2019), ch. 4.

K is separable: three matrix products, one for each axis.  Every round multiplies the ratio of the largest to the
smallest exp(f/epsilon) by at most sum(K)·max(a)/FLOOR, which is the reason why (1) and (2) can be carried out in
float64 just as they stand: `SAFE_ROUNDS` rounds can neither overflow nor lose a term that matters, whatever the
densities.  For more rounds the extremes are looked at, and where they leave the range, the rounds go on with
logarithms (`log_blur`), slowly.

On NVIDIA GPUs whose float64 is slow all rounds are done with logarithms in pairs of float32 (`cuda_kernels`), if that
agrees with float64 the first time; `transport_path` says which it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..maps.gaussian_blur import axis_gaussian, squared_distances
from . import cuda_kernels

FLOOR = 1e-20  # an empty voxel's mass, as in CryoTRANS 1.0.0; with a few rounds it shapes the potentials
SAFE_ROUNDS = 5
_LARGEST_LOG = 300.0  # |log| of a scaling; float64 ends at 709, and K needs the rest
_MARGINAL_TOLERANCE = 1e-3
_LINES_AT_ONCE = 1 << 24  # elements of a log-sum-exp held at a time
_KERNEL_TOLERANCE = 1e-4  # of a potential / epsilon, and of the loss / (epsilon · mass)


class Transport(NamedTuple):
    """What `sinkhorn` found: the dual value (3), f and g, and how far the plan's first marginal is from a."""

    loss: Tensor  # scalar, mass · voxels²
    potential_initial: Tensor  # (nz, ny, nx), voxels²; the loss's derivative with respect to the initial density
    potential_target: Tensor  # (nz, ny, nx), voxels²
    marginal_error: Tensor  # scalar, sum|marginal - a| / sum(a)
    n_iterations: int


class _Path(NamedTuple):
    """How a GPU does the rounds: by this kernel, or by PyTorch, and why."""

    launch: cuda_kernels.Launch | None
    why: str


_paths: dict[torch.device, _Path] = {}  # found out once a process, at the first transport on each GPU


def transport_path(device: torch.device) -> str:
    """A sentence on how the transport is computed on this device, as far as is known; sure after a first `sinkhorn`."""
    if device.type != "cuda":
        return "The transport is computed by PyTorch in float64."
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    path = _paths.get(device)
    if path is None:
        reason = cuda_kernels.reason_against(device)
        if reason is None:
            return "The transport will be computed by the CUDA kernel if it agrees with PyTorch at the first step."
        path = _Path(None, reason)
    if path.launch is None:
        return f"The transport is computed by PyTorch in float64: {path.why}."
    return f"The transport is computed by the CUDA kernel: {path.why}."


def sinkhorn(initial: Tensor, target: Tensor, epsilon: float, n_iterations: int) -> Transport:
    """Run `n_iterations` Sinkhorn rounds, fewer if the first marginal is reached after round 1, 101, 201 ...

    Args:
        initial, target: (nz, ny, nx), densities ≥ 0 of about the same sum, on one device.
        epsilon: strength of the regularisation, voxels².
        n_iterations: rounds, at least 1.
    Returns:
        Transport, its tensors float64 on the device of `initial` (which must know float64).
    Raises:
        InputError: the shapes differ, or epsilon or n_iterations is not positive.
    """
    if initial.shape != target.shape:
        raise InputError(
            f"Transport needs two densities of one shape: the initial is {tuple(initial.shape)}, "
            f"the target {tuple(target.shape)}. Resample one of them first."
        )
    if not epsilon > 0 or n_iterations < 1:
        raise InputError(
            f"Transport needs epsilon above 0 and at least one round, not epsilon {epsilon:g} and {n_iterations}."
        )
    initial, target = initial.double(), target.double()
    if initial.device.type == "cuda":
        return _sinkhorn_on_nvidia(initial, target, epsilon, n_iterations)
    return _sinkhorn_by_scalings(initial, target, epsilon, n_iterations)


def _sinkhorn_by_scalings(initial: Tensor, target: Tensor, epsilon: float, n_iterations: int) -> Transport:
    """The rounds (1) and (2) as they stand, in float64."""
    a, b = initial.clamp(min=FLOOR), target.clamp(min=FLOOR)
    kernels = [axis_gaussian(n, epsilon, initial) for n in initial.shape]
    u, v = a, torch.ones_like(b)
    blurred = kernel_product(v, kernels)
    error = torch.zeros((), dtype=torch.float64, device=initial.device)
    done = 0
    while done < n_iterations:
        u = a / blurred  # (1)
        v = b / kernel_product(u, kernels)  # (2)
        blurred = kernel_product(v, kernels)
        done += 1
        if done >= SAFE_ROUNDS and done < n_iterations and not _in_range(u, v):
            return _sinkhorn_by_logarithms(initial, target, u.log(), v.log(), epsilon, done, n_iterations)
        if done % 100 == 1 or done == n_iterations:
            error = (u * blurred - a).abs().sum() / a.sum()
            if done < n_iterations and error < _MARGINAL_TOLERANCE:
                break
    f, g = u.log(), v.log()
    loss = (f * initial).sum() + (g * target).sum() - (u * blurred).sum()  # (3) / epsilon
    return Transport(epsilon * loss, epsilon * f, epsilon * g, error, done)


def log_blur(log_mass: Tensor, epsilon: float) -> Tensor:
    """log Σ_y exp(log_mass(y) - |x - y|²/epsilon) for every voxel x, without over- or underflow.

    Args:
        log_mass: (nz, ny, nx).
        epsilon: voxels².
    Returns:
        (nz, ny, nx).
    """
    for axis in range(3):
        n = log_mass.shape[axis]
        cost = squared_distances(n, log_mass) / epsilon
        lines = log_mass.movedim(axis, -1)
        shape = lines.shape
        chunks = lines.reshape(-1, n).split(max(1, _LINES_AT_ONCE // (n * n)))
        blurred = torch.cat([torch.logsumexp(chunk[:, None, :] - cost, dim=-1) for chunk in chunks])
        log_mass = blurred.reshape(shape).movedim(-1, axis)
    return log_mass


def _sinkhorn_by_logarithms(
    initial: Tensor, target: Tensor, f: Tensor, g: Tensor, epsilon: float, done: int, n_iterations: int
) -> Transport:
    """The same rounds on from the potentials f and g (divided by epsilon)."""
    log_a, log_b = initial.clamp(min=FLOOR).log(), target.clamp(min=FLOOR).log()
    blurred = log_blur(g, epsilon)
    error = torch.zeros((), dtype=torch.float64, device=initial.device)
    while done < n_iterations:
        f = log_a - blurred
        g = log_b - log_blur(f, epsilon)
        blurred = log_blur(g, epsilon)
        done += 1
        if done % 100 == 1 or done == n_iterations:
            error = ((f + blurred).exp() - log_a.exp()).abs().sum() / log_a.exp().sum()
            if done < n_iterations and error < _MARGINAL_TOLERANCE:
                break
    loss = (f * initial).sum() + (g * target).sum() - (f + blurred).exp().sum()
    return Transport(epsilon * loss, epsilon * f, epsilon * g, error, done)


def _sinkhorn_on_nvidia(initial: Tensor, target: Tensor, epsilon: float, n_iterations: int) -> Transport:
    """The rounds by the CUDA kernel if it is of use on this GPU and has proved right, else by PyTorch."""
    device = initial.device
    path = _paths.get(device)
    reason = cuda_kernels.reason_against(device) if path is None else None
    if reason is None and not cuda_kernels.fits(initial.shape, epsilon):
        reason = "the box or epsilon is beyond what the CUDA kernel can take"
    if reason is not None and (path is None or path.launch is not None):
        path = _paths[device] = _Path(None, reason)
    if path is not None and path.launch is None:
        return _sinkhorn_by_scalings(initial, target, epsilon, n_iterations)
    known = _sinkhorn_by_scalings(initial, target, epsilon, n_iterations) if path is None else None
    try:
        launch = (path and path.launch) or cuda_kernels.compile_for(device)
        found = _sinkhorn_by_pairs(launch, initial, target, epsilon, n_iterations)
        if known is None:
            return found
        difference = _difference(found, known, epsilon, float(initial.sum()))
    except Exception as error:  # whatever it is, PyTorch has the answer
        _paths[device] = _Path(None, _failed(error))
        return known if known is not None else _sinkhorn_by_scalings(initial, target, epsilon, n_iterations)
    if difference <= _KERNEL_TOLERANCE:  # False for what is not a number
        _paths[device] = _Path(launch, f"at the first step it agreed with PyTorch to {difference:.0e}")
    else:
        _paths[device] = _Path(None, f"the CUDA kernel differed from it by {difference:.0e} at the first step")
    return known


def _failed(error: Exception) -> str:
    return f"the CUDA kernel failed ({type(error).__name__}: {' '.join(str(error).split())[:300]})"


def _difference(found: Transport, known: Transport, epsilon: float, mass: float) -> float:
    """The largest in a potential / epsilon, or in the loss / (epsilon · mass)."""
    if found.n_iterations != known.n_iterations:
        return math.inf
    of_potentials = [
        (found.potential_initial - known.potential_initial).abs().max(),
        (found.potential_target - known.potential_target).abs().max(),
    ]
    return float(torch.stack([*of_potentials, (found.loss - known.loss).abs() / mass]).max() / epsilon)


def _sinkhorn_by_pairs(
    launch: cuda_kernels.Launch, initial: Tensor, target: Tensor, epsilon: float, n_iterations: int
) -> Transport:
    """The rounds with logarithms in pairs of float32."""

    def update(potential: Tensor, log_mass: Tensor | None) -> Tensor:
        return cuda_kernels.log_blur_of_pairs(launch, potential, epsilon, log_mass)

    a, log_a, log_b = initial.clamp(min=FLOOR), *(_log_pairs(mass) for mass in (initial, target))
    f, g = log_a, torch.zeros_like(log_b)
    error = torch.zeros((), dtype=torch.float64, device=initial.device)
    marginal, done = a, 0
    while done < n_iterations:
        f = update(g, log_a)  # (1)
        g = update(f, log_b)  # (2)
        done += 1
        if done % 100 == 1 or done == n_iterations:
            marginal = (cuda_kernels.from_pairs(f) + cuda_kernels.from_pairs(update(g, None))).exp()
            error = (marginal - a).abs().sum() / a.sum()
            if done < n_iterations and error < _MARGINAL_TOLERANCE:
                break
    potentials = cuda_kernels.from_pairs(f), cuda_kernels.from_pairs(g)
    loss = (potentials[0] * initial).sum() + (potentials[1] * target).sum() - marginal.sum()  # (3) / epsilon
    return Transport(epsilon * loss, epsilon * potentials[0], epsilon * potentials[1], error, done)


def _log_pairs(mass: Tensor) -> Tensor:
    return cuda_kernels.to_pairs(mass.clamp(min=FLOOR).log())


def kernel_product(mass: Tensor, kernels: list[Tensor]) -> Tensor:
    """K mass, axis by axis; (nz, ny, nx)."""
    nz, ny, nx = mass.shape
    along_x = mass.reshape(nz * ny, nx) @ kernels[2]
    along_y = torch.matmul(kernels[1], along_x.reshape(nz, ny, nx))
    return (kernels[0] @ along_y.reshape(nz, ny * nx)).reshape(nz, ny, nx)


def _in_range(u: Tensor, v: Tensor) -> bool:
    extremes = torch.stack([*u.aminmax(), *v.aminmax()])
    limit = math.exp(_LARGEST_LOG)
    return bool(((extremes > 1 / limit) & (extremes < limit)).all())
