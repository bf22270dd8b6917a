"""cryotrans-train, from its options to the files that a run leaves behind.

All that can be said against the options, the maps and the directory is said before anything is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import InputError
from ..engine.files.run_directory import PROGRAM, RUN_FILE, STATE_FILE, RunDirectory
from ..engine.options import TrainingOptions
from .beginning import begin
from .keeping import run_training
from .pair import FLAGS, inputs_of, map_of_run, read_pair, read_validation
from .progress import Reporter
from .provenance import describe, describe_file, now
from .stop_request import StopRequest

if TYPE_CHECKING:
    import torch

    from ..engine.flow.velocity import Field

_DEFAULTS = {
    "recipe": "cryotrans",
    "binning": 1,
    "w2_eps": 1e-4,
    "w2_iter": 5,
    "lr": 1e-3,
    "mu_mesh": None,
    "symmetry": None,
    "blur": None,
    "hold_out": None,
}
_DEFAULTS_AUTO = {**_DEFAULTS, "n_steps": None, "period": 100}
_TRANSPORT_ONLY = ("debiased", "eps_start", "reach")
_CHOSEN_BY_AUTO = (
    "weight",
    "binning",
    "w2_eps",
    "w2_iter",
    "loss",
    "l2",
    "lr",
    "mu_mesh",
    "mesh_share",
    *_TRANSPORT_ONLY,
)
_DOMAINS = 16


def train(
    options: argparse.Namespace,
    command: list[str],
    reporter: Reporter,
    stop: StopRequest,
    leg: dict[str, int] | None = None,
    make: Callable[[], object] | None = None,
) -> None:
    """Train a new run, or go on with one.

    Args:
        options: what was typed, without defaults but for those that both programs share.
        command: the same as words, for run.json.
        reporter: is told what happens.
        stop: is looked at after every step.
        leg: which it is of a morph through several conformations, for run.json.
        make: is called when nothing is left to be said against a new run, before the first thing is written.
    Raises:
        InputError: whatever the user can mend.
    """
    said = vars(options)
    if "directory" not in said:
        raise InputError("No directory given: say where the run is to be kept, -d DIR.")
    run = RunDirectory(Path(options.directory))
    if said.get("resume"):
        if said.get("overwrite"):
            raise InputError("--resume goes on with a run and --overwrite removes it: give one of the two.")
        run.read()  # before anything is written there
        with run.locked():
            _resume(run, run.read(), said, reporter, stop)
        return
    run.check_free(said.get("overwrite", False), inputs_of(said))
    recipe = said.get("recipe", _DEFAULTS["recipe"])
    wanted = {**(_DEFAULTS_AUTO if recipe == "auto" else _DEFAULTS), **said}
    _check_choices(said, recipe)
    initial, target = read_pair(wanted, reporter)
    weights_from = Path(said["weight"]) if "weight" in said else None
    velocity = _load_start(weights_from, said)
    flow = said.get("flow", "auto" if recipe == "auto" else "network")
    training_options = TrainingOptions(
        initial_level=wanted["initial_threshold"],
        target_level=wanted["target_threshold"],
        n_steps=wanted["n_steps"],
        period=wanted["period"],
        bin_size=wanted["binning"],
        depth=getattr(velocity, "depth", said.get("depth", 3)),
        width=getattr(velocity, "width", said.get("width", 100)),
        loss="l2" if said.get("l2") else said.get("loss", "w2"),
        epsilon=wanted["w2_eps"],
        n_iterations=wanted["w2_iter"],
        learning_rate=wanted["lr"],
        mu_mesh=wanted["mu_mesh"],
        seed=said["seed"] if "seed" in said else secrets.randbelow(2**31),
        recipe=recipe,
        flow=flow,
        n_domains=said.get("domains", _DOMAINS if recipe != "auto" and flow in ("domains", "both") else None),
        symmetry=wanted["symmetry"] or ("auto" if recipe == "auto" else None),
        blur=wanted["blur"],
        debiased=said.get("debiased", False),
        epsilon_start=said.get("eps_start"),
        reach=said.get("reach"),
        mesh_share=said.get("mesh_share", 1.0),
        hold_out=wanted["hold_out"],
    )
    validation = read_validation(said.get("validation_map"), initial, reporter)
    device, why = _choose_device(options.device, options.gpu)
    training, compared = begin(initial, target, validation, training_options, device, reporter, velocity)
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
        "n_points": training.n_points,
        "device": {"asked": options.device, "gpu": options.gpu, "used": str(device)},
        "started": now(),
        "seconds": 0.0,
    }
    if leg is not None:
        content["leg"] = leg
    if make is not None:
        make()
    with run.made(said.get("overwrite", False)):
        run_training(run, content, training, compared, reporter, stop)


def _resume(
    run: RunDirectory, content: dict[str, Any], said: dict[str, Any], reporter: Reporter, stop: StopRequest
) -> None:
    from ..engine.flow.checkpoint import load_state

    options = _recorded_options(run, content)
    _check_same_run(content, options, said)
    if not (run / STATE_FILE).is_file():
        raise InputError(f"The run in {run.path} ended before its first checkpoint. Start it afresh (--overwrite).")
    state = load_state(run / STATE_FILE)
    step = state["step"]
    if options.recipe == "auto" and content.get("state") == "finished" and step != options.n_steps:
        raise InputError(
            f"The run in {run.path} is finished after {step} steps: nothing improved any more. "
            f"To go on with other settings, start a new run from its last weights (-w)."
        )
    if "n_steps" in said:
        options = dataclasses.replace(options, n_steps=said["n_steps"])
    if options.n_steps is not None and step >= options.n_steps:
        raise InputError(
            f"The run in {run.path} has done its {step} steps. To go on beyond, give more: --resume -n {2 * step or 1}."
        )
    paths = {key: map_of_run(key, content, said) for key in ("initial", "target")}
    reader = {"initial_map": paths["initial"], "target_map": paths["target"]}
    levels = {"initial_threshold": options.initial_level, "target_threshold": options.target_level}
    initial, target = read_pair({**reader, **levels, "n_steps": 0, "period": 1, "directory": ""}, reporter)
    asked = content["device"]
    spoken = said["device"] != "auto" or said["gpu"] is not None
    device, why = _choose_device(*((said["device"], said["gpu"]) if spoken else (asked["asked"], asked["gpu"])))
    reporter.note(why)
    reporter.note(f"Going on from step {step}" + (f" of {options.n_steps}." if options.n_steps is not None else "."))
    content = {**content, "state": "running", "options": options.to_dict(), "message": None}
    content["device"] = {**asked, "used": str(device)}
    for key, path in paths.items():
        content[key] = {**content[key], "path": str(Path(path).absolute())}
    kept = content.get("validation")
    validation = read_validation(kept and kept["path"], initial, reporter)
    training, compared = begin(initial, target, validation, options, device, reporter, state=state)
    content["n_steps"] = training.n_steps
    run_training(run, content, training, compared, reporter, stop)


def _check_choices(said: dict[str, Any], recipe: str) -> None:
    """Options that contradict each other."""
    if recipe == "auto":
        chosen = next((name for name in _CHOSEN_BY_AUTO if name in said), None)
        if chosen:
            raise InputError(
                f"--recipe auto chooses {_flag(chosen)} itself. Leave {_flag(chosen)} out, or use --recipe cryotrans."
            )
        return
    flow = said.get("flow", "network")
    if flow == "auto":
        raise InputError("--flow auto is a choice of --recipe auto. Use network, domains or both.")
    if "l2" in said and said.get("loss", "l2") != "l2":
        raise InputError(f"--l2 and --loss {said['loss']} contradict each other: give one of the two.")
    loss = "l2" if said.get("l2") else said.get("loss", "w2")
    if "blur" in said and loss != "correlation":
        raise InputError("--blur belongs to --loss correlation and --recipe auto. Leave it out, or use one of these.")
    of_transport = next((name for name in _TRANSPORT_ONLY if name in said), None)
    if of_transport and loss != "w2":
        raise InputError(f"{_flag(of_transport)} belongs to the transport: leave it out, or use --loss w2.")
    if "mesh_share" in said and not said.get("mu_mesh"):
        raise InputError("--mesh_share belongs to --mu_mesh: give both, or leave it out.")
    if "domains" in said and flow == "network":
        raise InputError("--domains belongs to --flow domains and --flow both. Leave it out, or use one of these.")
    if "weight" in said and ("flow" in said or "symmetry" in said):
        raise InputError("The weights to start from (-w) say which flow it is: leave --flow and --symmetry out.")


def _flag(name: str) -> str:
    return FLAGS.get(name, f"--{name}")


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
    """Options given again on resuming must be those of the run."""
    recorded = {
        "initial_threshold": options.initial_level,
        "target_threshold": options.target_level,
        "period": options.period,
        "weight": content.get("weights_from"),
        "binning": options.bin_size,
        "depth": options.depth,
        "width": options.width,
        "w2_eps": options.epsilon,
        "w2_iter": options.n_iterations,
        "l2": options.loss == "l2",
        "loss": options.loss,
        "recipe": options.recipe,
        "flow": options.flow,
        "domains": options.n_domains,
        "symmetry": options.symmetry,
        "blur": options.blur,
        "hold_out": options.hold_out,
        "debiased": options.debiased,
        "eps_start": options.epsilon_start,
        "reach": options.reach,
        "mesh_share": options.mesh_share,
        "lr": options.learning_rate,
        "mu_mesh": options.mu_mesh,
        "seed": options.seed,
    }
    for name, value in recorded.items():
        now = said.get(name, value)
        if name == "weight" and name in said:
            now = str(Path(said[name]).absolute())
        if now != value:
            flag = _flag(name)
            begun = f"without {flag}" if value is None or value is False else f"with {flag} {value}"
            raise InputError(
                f"The run was begun {begun}, not with {now}. With --resume leave it out, or start a new run in another "
                f"directory."
            )


def _load_start(path: Path | None, said: dict[str, Any]) -> Field | None:
    if path is None:
        return None
    from ..engine.flow.checkpoint import load_weights

    return load_weights(path, said.get("depth"), said.get("width"))


def _choose_device(name: str, gpu: int | None) -> tuple[torch.device, str]:
    from ..engine.device import choose_device

    return choose_device(name, gpu)
