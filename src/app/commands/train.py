"""cryotrans train: a new run, from open maps to a job in the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ...engine.errors import InputError
from ...engine.maps.density_map import DensityMap
from ...engine.options.training import TRAINING, check_together
from ..job import CryoTransJob
from ..markup import link, shortened
from ..masks import own_mask
from ..segments import segments_on
from ..volumes import (
    check_level,
    density_map_of,
    density_map_on,
    doubts_before,
    level_of,
    model_text,
    shown_level,
    suggested_level,
)
from ..wording import in_keywords
from .beginning import begin, python_for
from .folders import maps_of_run, new_run, stem

INTERPOLATION = (
    "The trajectory will be an interpolation between the two maps, not a simulation: it says nothing of the true path, "
    "of times or of energies."
)
_LEARNING_RATES = {"w2": 1e-3, "l2": 1e-4, "correlation": 1e-3}
_N_STEPS = 1000
_NAMES = {about.keyword: name for name, about in TRAINING.items() if about.keyword is not None}


def train(
    session: Any,
    initial: Any,
    to: Any,
    validate: Any = None,
    mask: Any = None,
    to_mask: Any = None,
    half_maps: Any = None,
    domains: Any = None,
    directory: str | None = None,
    frames: int | None = None,
    device: str = "auto",
    open: bool = True,
    wait: bool | None = None,
    **chosen: Any,
) -> CryoTransJob:
    """Learn the flow from one open map to another, or through several in turn, and open the trajectory."""
    targets = list(to)
    for before, after in zip([initial, *targets], targets):
        if before is after and before is initial:
            raise UserError(
                f"{model_text(initial)} is both the initial and the target map; two different maps are wanted."
            )
        if before is after:
            raise UserError(f"{model_text(after)} comes twice in a row; every leg leads from one map to another.")
    said = {_NAMES[name]: value for name, value in chosen.items() if value is not None}
    segments = None
    if isinstance(domains, int):
        said["n_domains"] = domains
    else:
        segments = domains
    _ask_for_levels(session, initial, targets, said)
    level = level_of(initial, said.get("initial_level"), "level")
    to_levels = [level_of(target, said.get("target_level"), "toLevel") for target in targets]
    if len(targets) > 1:
        for name, value in (
            ("weights", said.get("weight")),
            ("validate", validate),
            ("mask", mask),
            ("toMask", to_mask),
            ("halfMaps", half_maps),
            ("domains", segments),
        ):
            if value is not None:
                text = f"{name} belongs to one flow, and a way through several maps has several. Leave it out."
                raise UserError(text)
    said = _with_recipe(said)
    python = python_for(session, device)
    initial_map = density_map_of(initial)
    target_maps = [density_map_on(target, initial) for target in targets]
    validation_map = density_map_on(validate, initial) if validate is not None else None
    for target, target_map, its_level in zip(targets, target_maps, to_levels):
        _check_overlap(initial, target, target_map, its_level)
        for doubt in doubts_before(initial, target, target_map, its_level):
            session.logger.warning(f"CryoTRANS: {doubt}")
    if half_maps is not None and len(half_maps) != 2:
        raise UserError(f"halfMaps names {len(half_maps)} maps; wanted are the two half maps of the target.")
    halves = [density_map_on(half, initial) for half in half_maps or ()]
    masks = {
        key: own_mask(given, initial, density_map, its_level, f"{key}_mask")
        for key, given, density_map, its_level in (
            ("initial", mask, initial_map, level),
            ("target", to_mask, target_maps[0], to_levels[0]),
        )
        if given is not None
    }
    labels = None if segments is None else segments_on(segments, initial, initial_map, level)
    run = new_run(session, directory, "_to_".join(map(stem, [initial, *targets])), initial, targets)
    folder = run.folder
    maps = maps_of_run(run, initial_map, target_maps, validation_map, masks, halves, labels)
    training = {
        **said,
        "initial_map": run.initial_path,
        "initial_level": level,
        "target_map": run.target_paths(),
        "target_level": to_levels,
        "directory": folder,
        "validation_map": run.validation_path if validation_map is not None else None,
        "half_maps": run.half_map_paths() if halves else None,
        "segments": run.segments_path if labels is not None else None,
        **{f"{key}_mask": run.mask_path(key) for key in masks},
        "device": device,
    }
    if "weight" in said:
        training["weight"] = Path(said["weight"]).expanduser().absolute()
    steps = said.get("n_steps")
    session.logger.info(
        f"CryoTRANS: {model_text(initial)} at level {level:.4g} to "
        + " to ".join(f"{model_text(target)} at level {its:.4g}" for target, its in zip(targets, to_levels))
        + ", "
        + (f"{steps} steps. " if said["recipe"] == "cryotrans" else "recipe auto. ")
        + f"All is kept in {shortened(folder)}. {INTERPOLATION}"
    )
    return begin(session, run, python, training, level, frames, device, open, wait, maps)


def _ask_for_levels(session: Any, initial: Any, targets: list[Any], said: dict[str, Any]) -> None:
    """Refuse maps that show no surface, as in image style, all at once, with the command that has their levels."""
    ends = {"level": ([initial], said.get("initial_level")), "toLevel": (targets, said.get("target_level"))}
    lacking = [
        volume
        for volumes, level in ends.values()
        for volume in volumes
        if level is None and shown_level(volume) is None
    ]
    if len(lacking) < 2:
        return  # `level_of` says it of one
    for volume in lacking:
        check_level(volume, suggested_level(volume), "level")  # a map without density is told so
    levels = {name: level or suggested_level(volumes[-1]) for name, (volumes, level) in ends.items()}
    ids = ",".join(target.id_string for target in targets)
    typed = " ".join(f"{name} {level:.3g}" for name, level in levels.items())
    command = f"cryotrans train #{initial.id_string} to #{ids} {typed}"
    session.logger.info(f"With levels that keep the highest 1 % of the voxels: {link(command)}", is_html=True)
    raise UserError(
        f"{' and '.join(map(model_text, lacking))} show no surface whose level could be taken. Show both as surfaces, "
        f"or give the levels: {command}"
    )


def _check_overlap(initial: Any, target: Any, target_map: DensityMap, level: float) -> None:
    if target_map.density.max() < level:
        raise UserError(
            f"Nothing of {model_text(target)} above level {level:.4g} lies in the box of {model_text(initial)}. Move "
            f"it there first, as with fitmap #{target.id_string} inMap #{initial.id_string}."
        )


def _with_recipe(said: dict[str, Any]) -> dict[str, Any]:
    """What was chosen, and what follows from it: recipe auto, unless something is chosen that it chooses itself.

    Raises:
        UserError: two choices contradict each other.
    """
    by_hand = any(TRAINING[name].by_hand for name in said)
    said = {"recipe": "cryotrans" if by_hand else "auto", **said}
    try:
        check_together(said)
    except InputError as error:
        raise UserError(in_keywords(error.marked)) from error
    if said["recipe"] == "cryotrans":
        loss = said.get("loss", "w2")
        said = {"loss": loss, "learning_rate": _LEARNING_RATES[loss], "n_steps": _N_STEPS, **said}
    if "n_steps" in said:
        said = {"period": max(1, said["n_steps"] // 10), **said}
    return said
