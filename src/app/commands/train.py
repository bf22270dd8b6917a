"""cryotrans train: a new run, from open maps to a job in the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ...engine.maps.density_map import DensityMap
from ..job import CryoTransJob
from ..volumes import density_map_of, density_map_on, level_of, model_text
from ..worker_python import find_python
from .beginning import begin
from .folders import new_run, stem, write_maps

INTERPOLATION = (
    "The trajectory will be an interpolation between the two maps, not a simulation: it says nothing of the true path, "
    "of times or of energies."
)
_LEARNING_RATES = {"w2": 1e-3, "l2": 1e-4, "correlation": 1e-3}
_N_STEPS = 1000


def train(
    session: Any,
    initial: Any,
    to: Any,
    level: float | None = None,
    to_level: float | None = None,
    recipe: str | None = None,
    steps: int | None = None,
    period: int | None = None,
    flow: str | None = None,
    domains: int | None = None,
    symmetry: str | None = None,
    blur: float | None = None,
    hold_out: float | None = None,
    validate: Any = None,
    loss: str | None = None,
    learning_rate: float | None = None,
    depth: int | None = None,
    width: int | None = None,
    w2_eps: float | None = None,
    w2_iter: int | None = None,
    mu_mesh: float | None = None,
    binning: int | None = None,
    weights: str | None = None,
    directory: str | None = None,
    device: str = "auto",
    seed: int | None = None,
    frames: int | None = None,
    open: bool = True,
    wait: bool | None = None,
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
    level = level_of(initial, level, "level")
    to_levels = [level_of(target, to_level, "toLevel") for target in targets]
    of_one_flow = {"weights": weights, "validate": validate}
    for name, value in of_one_flow.items():
        if value is not None and len(targets) > 1:
            raise UserError(f"{name} belongs to one flow, and a way through several maps has several. Leave it out.")
    by_hand = {"loss": loss, "learningRate": learning_rate, "w2Eps": w2_eps, "w2Iter": w2_iter, "muMesh": mu_mesh}
    by_hand |= {"binning": binning, "weights": weights}
    said = [name for name, value in by_hand.items() if value is not None]
    if recipe == "auto" and said:
        raise UserError(f"recipe auto chooses {said[0]} itself. Leave one of the two out.")
    recipe = recipe or ("cryotrans" if said else "auto")
    if recipe == "cryotrans":
        loss, steps = loss or "w2", steps or _N_STEPS
    python = None if session.ui.is_gui else find_python(session)  # a window must not wait for it: the job looks
    initial_map = density_map_of(initial)
    target_maps = [density_map_on(target, initial) for target in targets]
    validation_map = density_map_on(validate, initial) if validate is not None else None
    for target, target_map, its_level in zip(targets, target_maps, to_levels):
        _check_overlap(initial, target, target_map, its_level)
    run = new_run(session, directory, "_to_".join(map(stem, [initial, *targets])), initial, targets)
    folder = run.folder
    write_maps(run, initial_map, target_maps, validation_map)
    training = {
        "-i0": run.initial_path,
        "-t0": level,
        "-i1": run.target_paths(),
        "-t1": to_levels,
        "-d": folder,
        "-n": steps,
        "-p": period or (max(1, steps // 10) if steps else None),
        "--recipe": recipe,
        "--flow": flow,
        "--domains": domains,
        "--symmetry": symmetry,
        "--blur": blur,
        "--hold-out": hold_out,
        "--validation-map": run.validation_path if validation_map is not None else None,
        "-b": binning,
        "-w": Path(weights).expanduser().absolute() if weights is not None else None,
        "--depth": depth,
        "--width": width,
        "--w2_eps": w2_eps,
        "--w2_iter": w2_iter,
        "--mu_mesh": mu_mesh,
        "--loss": loss,
        "--lr": learning_rate or (_LEARNING_RATES[loss] if loss is not None else None),
        "--seed": seed,
        "--device": device,
    }
    session.logger.info(
        f"CryoTRANS: {model_text(initial)} at level {level:.4g} to "
        + " to ".join(f"{model_text(target)} at level {its:.4g}" for target, its in zip(targets, to_levels))
        + ", "
        + (f"{steps} steps. " if recipe == "cryotrans" else "recipe auto. ")
        + f"All is kept in {folder}. {INTERPOLATION}"
    )
    return begin(session, run, python, training, level, frames, device, open, wait)


def _check_overlap(initial: Any, target: Any, target_map: DensityMap, level: float) -> None:
    if not (target_map.density >= level).any():
        raise UserError(
            f"Nothing of {model_text(target)} above level {level:.4g} lies in the box of {model_text(initial)}. Move "
            f"it there first, as with fitmap #{target.id_string} inMap #{initial.id_string}."
        )
