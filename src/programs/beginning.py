"""A training with its first loss taken, which shows whether memory suffices before anything is written."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.maps.density_map import DensityMap, voxel_side
from ..engine.maps.preparation import above_level, prepare
from ..engine.options.training import TrainingOptions
from .history import Compared
from .pair import Pair
from .progress import Reporter

if TYPE_CHECKING:
    import torch

    from ..engine.flow.symmetry import Symmetry
    from ..engine.flow.velocity import Field
    from ..engine.maps.half_maps import Noise
    from ..engine.maps.segments import Segments
    from ..engine.training.recipe import AutoTraining
    from ..engine.training.training import Training

_BLOCK, _BLOCK_VOXELS = 8.0, 4.0  # width of held-out blocks: Å, but at least so many voxels


def begin(
    pair: Pair,
    validation: DensityMap | None,
    options: TrainingOptions,
    device: torch.device,
    reporter: Reporter,
    field: Field | None = None,
    state: dict[str, Any] | None = None,
) -> tuple[Training | AutoTraining, Compared]:
    """The training with its first loss taken, which shows whether memory suffices before anything is written."""
    import torch

    from ..engine.device import use_threads
    from ..engine.judging.comparison import Comparison
    from ..engine.judging.held_out import held_out_mask

    initial, target, masks = pair[:3]
    noise, low_pass, is_noisy = _noise_of_target(pair, reporter), 0.0, False
    blur = _blur_between(initial, target, options)
    if options.conditioning == "auto":
        initial, target, options, blur, low_pass, is_noisy = _conditioned(pair, options, blur, noise, reporter)
    else:
        initial, target = (
            each.with_density(each.density * masks[key].density) if key in masks else each
            for key, each in (("initial", initial), ("target", target))
        )
    _tell_of_the_blur(initial, target, options, blur, reporter)
    levels = (options.initial_level, options.target_level)
    symmetry = _symmetry_of(initial, target, options, reporter)
    held_out = None
    if options.hold_out is not None:
        block = max(_BLOCK_VOXELS, _BLOCK / voxel_side(initial.voxel_size))
        held_out = held_out_mask(above_level(target, options.target_level), options.hold_out, block, options.seed)
    training = _training_of(initial, target, options, blur, symmetry, device, held_out, field, pair.segments, is_noisy)
    if len({f"{size:.3f}" for size in initial.voxel_size}) > 1:
        reporter.warning(f"The voxels of {initial.name} are not cubes; distances are measured in voxels.")
    if any(n % options.bin_size for n in initial.grid_shape):
        reporter.note(f"The box does not divide by {options.bin_size}: it is padded with empty voxels.")
    if state is not None:
        training.restore(state)
    most = torch.get_num_threads()
    use_threads(device, training.n_points * options.width, most)  # as in the steps, which resuming is to repeat exactly
    try:
        training.evaluate()
    finally:
        torch.set_num_threads(most)
    _ = training.losses  # fails if it is not a number
    if device.type == "cuda" and options.loss == "w2":
        from ..engine.transport.sinkhorn import transport_path

        reporter.note(transport_path(device))
    comparison = Comparison(initial, target, *levels, device, validation, held_out, training.without_partner)
    ceiling = None if noise is None else _ceiling(noise, target, options.target_level, low_pass, reporter)
    return training, Compared(initial, target, options.target_level, blur, comparison, options.initial_level, ceiling)


def _symmetry_of(
    initial: DensityMap, target: DensityMap, options: TrainingOptions, reporter: Reporter
) -> Symmetry | None:
    """The symmetry that was named or that both maps have, and what is said of it."""
    if options.symmetry is None:
        return None
    from ..engine.flow.symmetry_search import find_symmetry

    levels = (options.initial_level, options.target_level)
    found = find_symmetry(options.symmetry, (initial.density, target.density), levels)
    if found is None:
        return None
    symmetry = found.symmetry
    compete = options.symmetry == "auto" and options.recipe == "auto"
    reporter.note(
        f"The maps look {found.text()}; flows that keep it compete with free ones."
        if compete
        else f"The flow keeps the symmetry {symmetry.name} about {symmetry.axis_text()}."
    )
    return symmetry


def _training_of(
    initial: DensityMap,
    target: DensityMap,
    options: TrainingOptions,
    blur: float,
    symmetry: Symmetry | None,
    device: torch.device,
    held_out: NDArray[np.bool_] | None,
    field: Field | None,
    segments: Segments | None,
    is_noisy: bool,
) -> Training | AutoTraining:
    """The training of a recipe, from a new field or the one that was given."""
    if options.recipe == "auto":
        from ..engine.training.recipe import AutoTraining

        return AutoTraining(initial, target, options, blur, symmetry, device, held_out, segments, is_noisy)
    from ..engine.flow.fields import new_field
    from ..engine.training.training import Training

    levels = (options.initial_level, options.target_level)
    pair = prepare(initial, target, *levels, options.bin_size, held_out=held_out)
    if field is None:
        field = new_field(options.flow, options, pair, symmetry)
    side = options.bin_size * voxel_side(initial.voxel_size)
    return Training(pair, options, field, device, (blur / side, 0.0))


def _conditioned(
    pair: Pair, options: TrainingOptions, blur: float, noise: Noise | None, reporter: Reporter
) -> tuple[DensityMap, DensityMap, TrainingOptions, float, float, bool]:
    """Both maps, the options with their levels and the blur between them, as training is to see them; by what the
    target was low-passed (Å); and whether one is noisy."""
    from ..engine.maps.conditioning import conditioned, joined_blur

    masks = {key: mask.density for key, mask in pair.masks.items()}
    a = conditioned(pair.initial, options.initial_level, masks.get("initial"))
    b = conditioned(pair.target, options.target_level, masks.get("target"), noise)
    for note in (*a.notes, *b.notes):
        reporter.note(note)
    options = dataclasses.replace(options, initial_level=a.level, target_level=b.level)
    return a.density_map, b.density_map, options, joined_blur(blur, a.blur, b.blur), b.blur, a.is_noisy or b.is_noisy


def _noise_of_target(pair: Pair, reporter: Reporter) -> Noise | None:
    """By its half maps, if there are any."""
    if not pair.half_maps:
        return None
    from ..engine.maps.conditioning import mask_of
    from ..engine.maps.half_maps import noise_of

    mask = mask_of(pair.target, pair.masks["target"].density if "target" in pair.masks else None)
    if mask is None:
        mask = np.ones(pair.target.grid_shape, np.float32)
    noise = noise_of(pair.target, pair.half_maps, mask)
    reporter.note(f"The half maps of {pair.target.name} agree to {noise.resolution:.3g} Å (FSC = 0.143).")
    return noise


def _ceiling(noise: Noise, target: DensityMap, level: float, low_pass: float, reporter: Reporter) -> float:
    """The correlation with the target, as training sees it, that its noise leaves to a perfect flow.

    Args:
        low_pass: standard deviation in Å of the Gaussian by which the target was low-passed.
    """
    from ..engine.maps.half_maps import ceiling_of_correlation
    from ..engine.maps.low_pass import SIGMA_OF_RESOLUTION, low_passed

    seen = low_passed(noise.draw, target.voxel_size, low_pass / SIGMA_OF_RESOLUTION)
    ceiling = ceiling_of_correlation(above_level(target, level), seen)
    reporter.note(
        f"By its half maps the noise of {target.name} leaves even a perfect morph a correlation of {ceiling:.3f} with "
        f"it, as training sees it."
    )
    return ceiling


def _blur_between(initial: DensityMap, target: DensityMap, options: TrainingOptions) -> float:
    """Standard deviation (Å) of the Gaussian that makes the initial map as coarse as the target, as they came."""
    if options.blur is not None:
        return options.blur
    from ..engine.maps.relative_blur import estimate_blur

    return estimate_blur(initial.density, target.density, initial.voxel_size)


def _tell_of_the_blur(
    initial: DensityMap, target: DensityMap, options: TrainingOptions, blur: float, reporter: Reporter
) -> None:
    if options.blur is None and (options.recipe == "auto" or options.loss == "correlation"):
        reporter.note(
            f"{target.name} is as coarse as {initial.name} blurred by a Gaussian of {blur:.2f} Å (estimated)."
            if blur > 0
            else f"{target.name} is not coarser than {initial.name}."
        )
