"""cryotrans-train, from its options to the files that a run leaves behind.

All that can be said against the options, the maps and the directory is said before anything is written.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import InputError, named
from ..engine.files.run_directory import FINAL_WEIGHTS, MASKS, PROGRAM, RUN_FILE, STATE_FILE, RunDirectory
from ..engine.options.training import TRAINING, TrainingOptions, check_together
from ..engine.options.training import training_options as chosen_options
from .beginning import begin
from .keeping import run_training
from .pair import (
    half_maps_of_run,
    inputs_of,
    map_of_run,
    mask_of_run,
    read_pair,
    read_validation,
    segments_of_run,
    without_belt,
)
from .progress import Reporter
from .provenance import describe, describe_file, now
from .room import check_room_for_training
from .stop_request import StopRequest

if TYPE_CHECKING:
    import torch

    from ..engine.flow.velocity import Field
    from ..engine.ranks import Ranks

_REQUIRED_BY = {"cryotrans": ("directory", "n_steps", "period"), "auto": ("directory",)}


def train(
    said: dict[str, Any],
    command: list[str],
    reporter: Reporter,
    stop: StopRequest,
    leg: dict[str, int] | None = None,
    make: Callable[[], object] | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Train a new run, or go on with one.

    Args:
        said: what was typed, by the names of the options; how to run (device, gpu) is always there.
        command: the same as words, for run.json.
        reporter: is told what happens.
        stop: is looked at after every step.
        leg: which it is of a morph through several conformations, for run.json.
        make: is called when nothing is left to be said against a new run, before the first thing is written.
        ranks: that are to train together, if there are several.
    Raises:
        InputError: whatever the user can mend.
    """
    if "directory" not in said:
        raise InputError(f"No directory given: say where the run is to be kept, {named('directory')} DIR.")
    run = RunDirectory(Path(said["directory"]))
    if said.get("resume"):
        if said.get("overwrite"):
            raise InputError(
                f"{named('resume')} goes on with a run and {named('overwrite')} removes it: give one of the two."
            )
        run.read()  # before anything is written there
        with run.locked() as is_locked:
            _tell_of_locks(is_locked, run, reporter)
            _resume(run, run.read(), said, reporter, stop, ranks)
        return
    run.check_free(said.get("overwrite", False), inputs_of(said))
    check_together(said)
    pair = read_pair(said, reporter, required=_REQUIRED_BY[said.get("recipe", "cryotrans")])
    initial, target = pair.initial, pair.target
    weights_from = Path(said["weight"]) if "weight" in said else None
    velocity = _load_start(weights_from, said)
    size = {name: getattr(velocity, name) for name in ("depth", "width") if hasattr(velocity, name)}
    training_options = chosen_options({**said, **size}, seed=secrets.randbelow(2**31))
    device, why = _choose_device(said["device"], said["gpu"])
    check_room_for_training(initial, training_options, device, reporter, ranks.n_here if ranks else 1)
    validation = read_validation(said.get("validation_map"), initial, reporter)
    pair = without_belt(pair, training_options, reporter)
    training, compared = begin(pair, validation, training_options, device, reporter, velocity, ranks=ranks)
    reporter.note(why)
    content = {
        "program": PROGRAM,
        "command": command,
        "state": "running",
        "step": 0,
        "n_steps": training.n_steps,
        "options": training_options.to_dict(),
        "weights_from": str(weights_from.absolute()) if weights_from else None,
        "initial": describe(initial, said["initial_map"], training_options.initial_level),
        "target": describe(target, said["target_map"], training_options.target_level),
        "reports": not said.get("no_report", False),
        "validation": describe_file(said["validation_map"]) if validation else None,
        "masks": {key: _about_mask(said.get(f"{key}_mask")) for key in pair.masks},
        "half_maps": [describe_file(path) for path in said.get("half_maps", ())],
        "segments": describe_file(said["segments"]) if pair.segments else None,
        "ceiling": compared.ceiling,
        "n_points": training.n_points,
        "device": {"asked": said["device"], "gpu": said["gpu"], "used": str(device)},
        "started": now(),
        "seconds": 0.0,
    }
    if leg is not None:
        content["leg"] = leg
    if make is not None:
        make()
    with run.made(said.get("overwrite", False)) as is_locked:
        _tell_of_locks(is_locked, run, reporter)
        run_training(run, content, training, compared, reporter, stop, pair.masks)


def _resume(
    run: RunDirectory,
    content: dict[str, Any],
    said: dict[str, Any],
    reporter: Reporter,
    stop: StopRequest,
    ranks: Ranks | None,
) -> None:
    from ..engine.flow.checkpoint import load_state

    options = _recorded_options(run, content)
    _check_same_run(content, options, said)
    if not (run / STATE_FILE).is_file():
        raise InputError(
            f"The run in {run.path} ended before its first checkpoint. Start it afresh ({named('overwrite')})."
        )
    state = load_state(run / STATE_FILE)
    step = state["step"]
    # A run that was killed between its last checkpoint and its end, or before its report was whole, has only to be
    # ended.
    is_whole = content.get("state") == "finished"
    if options.recipe == "auto" and is_whole and step != options.n_steps:
        raise InputError(
            f"The run in {run.path} is finished after {step} steps: nothing improved any more. "
            f"To go on with other settings, start a new run from its last weights ({named('weight')})."
        )
    if "n_steps" in said:
        options = dataclasses.replace(options, n_steps=said["n_steps"])
    has_ended = is_whole and (run / FINAL_WEIGHTS).is_file()
    if options.n_steps is not None and (step > options.n_steps or (step == options.n_steps and has_ended)):
        raise InputError(
            f"The run in {run.path} has done its {step} steps. To go on beyond, give more: {named('resume')} "
            f"{named('n_steps')} {2 * step or 1}."
        )
    paths = {key: map_of_run(key, content, said) for key in ("initial", "target")}
    validation_path = _validation_of_run(content, said)
    reader = {"initial_map": paths["initial"], "target_map": paths["target"]}
    levels = {"initial_level": options.initial_level, "target_level": options.target_level}
    masks = {f"{key}_mask": str(mask_of_run(run, key)) for key in content.get("masks", {})}
    half_maps = half_maps_of_run(content, said)
    pair = read_pair({**reader, **levels, **masks, "half_maps": half_maps, **segments_of_run(content)}, reporter)
    asked = content["device"]
    spoken = said["device"] != "auto" or said["gpu"] is not None
    device, why = _choose_device(*((said["device"], said["gpu"]) if spoken else (asked["asked"], asked["gpu"])))
    check_room_for_training(pair.initial, options, device, reporter, ranks.n_here if ranks else 1)
    reporter.note(why)
    reporter.note(f"Going on from step {step}" + (f" of {options.n_steps}." if options.n_steps is not None else "."))
    content = {**content, "state": "running", "options": options.to_dict(), "message": None}
    content["device"] = {**asked, "used": str(device)}
    if "no_report" in said:
        content["reports"] = not said["no_report"]
    for key, path in paths.items():
        content[key] = {**content[key], "path": str(Path(path).absolute())}
    if validation_path is not None:
        content["validation"] = describe_file(validation_path)
    validation = read_validation(validation_path, pair.initial, reporter)
    training, compared = begin(pair, validation, options, device, reporter, state=state, ranks=ranks)
    content["n_steps"] = training.n_steps
    run_training(run, content, training, compared, reporter, stop)


def _tell_of_locks(is_locked: bool, run: RunDirectory, reporter: Reporter) -> None:
    if not is_locked:
        reporter.note(
            f"The disk of {run.path} knows no locks: see to it yourself that no other program trains there meanwhile."
        )


def _about_mask(path: str | None) -> dict[str, Any]:
    """The user's own, or one that the maps suggested."""
    return {"found": "belt"} if path is None else describe_file(path)


def _recorded_options(run: RunDirectory, content: dict[str, Any]) -> TrainingOptions:
    """The options of a run, if its run.json says all that resuming needs."""
    try:
        _ = [content[key][part] for key in ("initial", "target") for part in ("path", "sha256")]
        _ = [content["device"][part] for part in ("asked", "gpu")]
        _ = float(content["seconds"]), int(content["n_points"])
        options = TrainingOptions(**content["options"])
        _ = options.initial_level + options.target_level + (options.n_steps or 0) + options.period
        return options
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run / RUN_FILE} lacks what resuming needs ({error}): it was edited, or another version wrote it. "
            f"Start a new run in another directory."
        ) from error


def _check_same_run(content: dict[str, Any], options: TrainingOptions, said: dict[str, Any]) -> None:
    """Options given again on resuming must be those of the run, but for those that are free."""
    recorded = {**options.to_dict(), "l2": options.loss == "l2", "weight": content.get("weights_from")}
    recorded["half_maps"] = [half["path"] for half in content.get("half_maps", ())] or None
    recorded["segments"] = (content.get("segments") or {}).get("path")
    recorded |= {f"{key}_mask": content.get("masks", {}).get(key, {}).get("path") for key in MASKS}
    for name, about in TRAINING.items():
        if name not in said or name not in recorded or about.on_resume == "free":
            continue
        was, now = recorded[name], said[name]
        if name in ("weight", "segments") or name.endswith("_mask"):
            now = str(Path(now).absolute())
        if name == "half_maps":
            now = [str(Path(path).absolute()) for path in now]
        if now != was:
            begun = f"without {named(name)}" if was is None or was is False else f"with {named(name)} {was}"
            raise InputError(
                f"The run was begun {begun}, not with {now}. With {named('resume')} leave it out, or start a new run "
                f"in another directory."
            )


def _validation_of_run(content: dict[str, Any], said: dict[str, Any]) -> str | None:
    """Where the run's validation map is now; None if it has none."""
    kept, path = content.get("validation"), said.get("validation_map")
    if kept is None and path is not None:
        raise InputError(
            f"The run was begun without {named('validation_map')}. With {named('resume')} leave it out, or start a new "
            f"run in another directory."
        )
    return None if kept is None else map_of_run("validation", content, said)


def _load_start(path: Path | None, said: dict[str, Any]) -> Field | None:
    if path is None:
        return None
    from ..engine.flow.checkpoint import load_weights

    return load_weights(path, said.get("depth"), said.get("width"))


def _choose_device(name: str, gpu: int | None) -> tuple[torch.device, str]:
    from ..engine.device import choose_device

    return choose_device(name, gpu)
