"""A training with its first loss taken, which shows whether memory suffices before anything is written."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.errors import is_of_memory
from ..engine.maps.density_map import DensityMap, voxel_side
from ..engine.maps.preparation import above_level, prepare
from ..engine.options.training import TrainingOptions
from .allocator import give_freed_memory_back
from .history import Compared
from .pair import Pair
from .progress import Reporter

if TYPE_CHECKING:
    import torch

    from ..engine.flow.symmetry import Symmetry
    from ..engine.flow.velocity import Field
    from ..engine.maps.half_maps import Noise
    from ..engine.maps.segments import Segments
    from ..engine.ranks import Ranks
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
    ranks: Ranks | None = None,
) -> tuple[Training | AutoTraining, Compared]:
    """The training with its first loss taken, which shows whether memory suffices before anything is written.

    Args:
        ranks: that are to train together, if there are several.
    """
    from ..engine.judging.comparison import Comparison
    from ..engine.judging.held_out import held_out_mask, without_held_out
    from ..engine.ranks import ALONE

    give_freed_memory_back()  # what reading the maps and the doubts about them took
    noise = _noise_of_target(pair, reporter)
    seen = judged = _as_seen(pair, options, noise)
    held_out = None
    if options.hold_out is not None:
        block = max(_BLOCK_VOXELS, _BLOCK / voxel_side(pair.initial.voxel_size))
        occupied = above_level(judged.target, judged.options.target_level)
        held_out = held_out_mask(occupied, options.hold_out, block, options.seed)
        target = pair.target.with_density(without_held_out(pair.target.density, held_out, block))
        seen = _as_seen(pair._replace(target=target), options, noise)
    for note in seen.notes:
        reporter.note(note)
    initial, target, options, blur = seen[:4]
    _tell_of_the_blur(initial, target, options, blur, reporter)
    symmetry = _symmetry_of(initial, target, options, reporter)
    give_freed_memory_back()  # what these have looked at
    given = Given(seen, symmetry, held_out, field, pair.segments, state)
    ranks = ranks or ALONE
    training = first_step(ranks.from_first(given), device, reporter, ranks)
    if len({f"{size:.3f}" for size in initial.voxel_size}) > 1:
        reporter.warning(f"The voxels of {initial.name} are not cubes; distances are measured in voxels.")
    if any(n % options.bin_size for n in initial.grid_shape):
        reporter.note(f"The box does not divide by {options.bin_size}: it is padded with empty voxels.")
    if device.type == "cuda" and options.loss == "w2":
        from ..engine.transport.sinkhorn import transport_path

        reporter.note(transport_path(device))
    levels = (judged.options.initial_level, judged.options.target_level)
    maps = (judged.initial, judged.target)
    comparison = Comparison(*maps, *levels, device, validation, held_out, training.without_partner)
    ceiling = None if noise is None else _ceiling(noise, judged.target, levels[1], seen.target_low_pass, reporter)
    return training, Compared(*maps, levels[1], blur, comparison, levels[0], ceiling)


class Given(NamedTuple):
    """What a training begins with."""

    seen: _Seen
    symmetry: Symmetry | None
    held_out: NDArray[np.bool_] | None
    field: Field | None
    segments: Segments | None
    state: dict[str, Any] | None


def first_step(given: Given, device: torch.device, reporter: Reporter, ranks: Ranks) -> Training | AutoTraining:
    """The training with its first loss taken, on every rank alike."""
    import torch

    from ..engine.device import use_threads

    training = _training_of(given, device, ranks)
    if given.state is not None:
        training.restore(given.state)
    most = torch.get_num_threads()
    # as in the steps, which resuming is to repeat exactly
    use_threads(device, training.n_points * training.options.width, most)
    try:
        evaluate(training, device, reporter)
    finally:
        torch.set_num_threads(most)
    _ = training.losses  # fails if it is not a number
    return training


def evaluate(training: Training | AutoTraining, device: torch.device, reporter: Reporter) -> None:
    """Take the loss and its derivative; where memory runs out, once more with as little of it as can be.

    Raises:
        MemoryError, RuntimeError: that was not enough, or other ranks wait in the middle of a step.
    """
    from ..engine.device import free_what_is_kept

    try:
        training.evaluate()
        return
    except (MemoryError, RuntimeError) as error:
        if training.is_sparing or training.ranks.n > 1 or not is_of_memory(error):
            raise
    free_what_is_kept(device)  # not above, where the error holds what was made so far
    training.spare_memory()
    reporter.warning(
        f"Memory has run out at step {training.step}: from here on fewer points are taken at a time, which is slower."
    )
    training.evaluate()


class _Seen(NamedTuple):
    """Both maps as training is to see them."""

    initial: DensityMap
    target: DensityMap
    options: TrainingOptions  # with the levels of these maps
    blur: float  # Å, standard deviation of the Gaussian that makes the initial as coarse as the target
    target_low_pass: float  # Å, of the Gaussian by which the target was low-passed, against noise or ripples
    low_pass: float  # Å, of the Gaussians that took the noise off both maps, one after the other; 0 of clean ones
    notes: tuple[str, ...]


def _as_seen(pair: Pair, options: TrainingOptions, noise: Noise | None) -> _Seen:
    if options.conditioning == "auto":
        return _conditioned(pair, options, noise)
    blur = _blur_between(pair.initial, pair.target, options)
    initial, target = (
        each.with_density(each.density * pair.masks[key].density) if key in pair.masks else each
        for key, each in (("initial", pair.initial), ("target", pair.target))
    )
    return _Seen(initial, target, options, blur, 0.0, 0.0, ())


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


def _training_of(given: Given, device: torch.device, ranks: Ranks) -> Training | AutoTraining:
    """The training of a recipe, from a new field or the one that was given."""
    seen, symmetry, held_out, field, segments, _ = given
    initial, target, options, blur = seen[:4]
    if options.recipe == "auto":
        from ..engine.training.recipe import AutoTraining

        return AutoTraining(initial, target, options, blur, symmetry, device, held_out, segments, seen.low_pass, ranks)
    from ..engine.flow.fields import new_field
    from ..engine.training.training import Training

    levels = (options.initial_level, options.target_level)
    pair = prepare(initial, target, *levels, options.bin_size, held_out=held_out)
    if field is None:
        field = new_field(options.flow, options, pair, symmetry)
    side = options.bin_size * voxel_side(initial.voxel_size)
    return Training(pair, options, field, device, (blur / side, 0.0), ranks)


def _conditioned(pair: Pair, options: TrainingOptions, noise: Noise | None) -> _Seen:
    from ..engine.maps.conditioning import conditioned, joined_blur

    masks = {key: mask.density for key, mask in pair.masks.items()}
    a = conditioned(pair.initial, options.initial_level, masks.get("initial"))
    b = conditioned(pair.target, options.target_level, masks.get("target"), noise)
    options = dataclasses.replace(options, initial_level=a.level, target_level=b.level)
    low_pass = math.hypot(*(each.blur for each in (a, b) if each.is_noisy))
    blur = joined_blur(_blur_between(pair.initial, pair.target, options, a.mask, b.mask), a.blur, b.blur)
    return _Seen(a.density_map, b.density_map, options, blur, b.blur, low_pass, (*a.notes, *b.notes))


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


def _ceiling(noise: Noise, target: DensityMap, level: float, target_low_pass: float, reporter: Reporter) -> float:
    """The correlation with the target, as training sees it, that its noise leaves to a perfect flow.

    Args:
        target_low_pass: standard deviation in Å of the Gaussian by which the target was low-passed.
    """
    from ..engine.maps.half_maps import ceiling_of_correlation
    from ..engine.maps.low_pass import SIGMA_OF_RESOLUTION, low_passed

    seen = low_passed(noise.draw, target.voxel_size, target_low_pass / SIGMA_OF_RESOLUTION)
    ceiling = ceiling_of_correlation(above_level(target, level), seen)
    reporter.note(
        f"By its half maps the noise of {target.name} leaves even a perfect morph a correlation of {ceiling:.3f} with "
        f"it, as training sees it."
    )
    return ceiling


def _blur_between(
    initial: DensityMap,
    target: DensityMap,
    options: TrainingOptions,
    initial_mask: np.ndarray | None = None,
    target_mask: np.ndarray | None = None,
) -> float:
    """Standard deviation (Å) of the Gaussian that makes the initial map as coarse as the target, as they came.

    Of what lies in the masks, where there are any.
    """
    if options.blur is not None:
        return options.blur
    from ..engine.maps.relative_blur import estimate_blur

    a, b = (
        each.density if mask is None else each.density * mask
        for each, mask in ((initial, initial_mask), (target, target_mask))
    )
    return estimate_blur(a, b, initial.voxel_size, initial_mask is not None or target_mask is not None)


def _tell_of_the_blur(
    initial: DensityMap, target: DensityMap, options: TrainingOptions, blur: float, reporter: Reporter
) -> None:
    if options.blur is None and (options.recipe == "auto" or options.loss == "correlation"):
        reporter.note(
            f"{target.name} is as coarse as {initial.name} blurred by a Gaussian of {blur:.2f} Å (estimated)."
            if blur > 0
            else f"{target.name} is not coarser than {initial.name}."
        )
