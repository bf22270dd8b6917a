"""cryotrans-train, from its options to the files that a run leaves behind.

All that can be said against the options, the maps and the directory is said before anything is written.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .conclusion import MOTION_FILES, conclude
from .engine.density_map import DensityMap, assume_grid_of, grid_text, read_map, resample, same_grid
from .engine.errors import InputError
from .engine.options import TrainingOptions
from .engine.preparation import above_level, prepare, suggested_level
from .engine.run_directory import FINAL_WEIGHTS, RUN_FILE, STATE_FILE, RunDirectory
from .progress import Reporter, in_a_sentence
from .provenance import describe, describe_file, digest, now, versions
from .record import Compared, Record
from .report import REPORT_FILE
from .stop_request import StopRequest

if TYPE_CHECKING:
    import torch

    from .engine.recipe import AutoTraining
    from .engine.training import Training
    from .engine.velocity import Field

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
_REQUIRED = ("initial_map", "initial_threshold", "target_map", "target_threshold", "directory", "n_steps", "period")
_DOMAINS = 16
_SAID_SHARE = 5e-5  # of the mass outside the box; less would be said as 0.00 %
_BLOCK, _BLOCK_VOXELS = 8.0, 4.0  # width of held-out blocks: Å, but at least so many voxels
_FLAGS = dict(zip(_REQUIRED, ("-i0", "-t0", "-i1", "-t1", "-d", "-n", "-p")))


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
    run.check_free(said.get("overwrite", False))
    recipe = said.get("recipe", _DEFAULTS["recipe"])
    wanted = {**(_DEFAULTS_AUTO if recipe == "auto" else _DEFAULTS), **said}
    _check_choices(said, recipe)
    initial, target = read_pair(wanted, reporter)
    weights_from = Path(said["weight"]) if "weight" in said else None
    velocity = _load_start(weights_from, said)
    if weights_from is not None and said.get("overwrite") and run.owns(weights_from):
        raise InputError(
            f"--overwrite would remove {weights_from}, the weights to start from (-w). Choose another directory (-d)."
        )
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
    validation = _read_validation(said.get("validation_map"), initial, reporter)
    device, why = _choose_device(options.device, options.gpu)
    training, compared = _begin(initial, target, validation, training_options, device, reporter, velocity)
    reporter.note(why)
    content = {
        "program": "CryoTRANS for ChimeraX",
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
        _run_training(run, content, training, compared, reporter, stop)


def _resume(
    run: RunDirectory, content: dict[str, Any], said: dict[str, Any], reporter: Reporter, stop: StopRequest
) -> None:
    from .engine.checkpoint import load_state

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
    for name in (*MOTION_FILES, REPORT_FILE):  # of where it had ended
        (run / name).unlink(missing_ok=True)
    content = {**content, "state": "running", "options": options.to_dict(), "message": None}
    content["device"] = {**asked, "used": str(device)}
    for key, path in paths.items():
        content[key] = {**content[key], "path": str(Path(path).absolute())}
    kept = content.get("validation")
    validation = _read_validation(kept and kept["path"], initial, reporter)
    training, compared = _begin(initial, target, validation, options, device, reporter, state=state)
    content["n_steps"] = training.n_steps
    _run_training(run, content, training, compared, reporter, stop)


def _begin(
    initial: DensityMap,
    target: DensityMap,
    validation: DensityMap | None,
    options: TrainingOptions,
    device: torch.device,
    reporter: Reporter,
    field: Field | None = None,
    state: dict[str, Any] | None = None,
) -> tuple[Training | AutoTraining, Compared]:
    """The training with its first loss taken, which shows whether memory suffices before anything is written."""
    import torch

    from .engine.device import use_threads
    from .engine.held_out import held_out_mask
    from .engine.measures import Judge

    levels = (options.initial_level, options.target_level)
    kept = [above_level(density_map, level) for density_map, level in zip((initial, target), levels)]
    blur = _blur_between(initial, target, options, reporter)
    symmetry = None
    if options.symmetry is not None:
        from .engine.symmetry import find_symmetry

        symmetry = find_symmetry(options.symmetry, *kept)
        if symmetry is not None:
            reporter.note(f"The flow keeps the symmetry {symmetry.name}.")
    held_out = None
    if options.hold_out is not None:
        block = max(_BLOCK_VOXELS, _BLOCK / float(np.mean(initial.voxel_size)))
        held_out = held_out_mask(kept[1], options.hold_out, block, options.seed)
    training: Training | AutoTraining
    if options.recipe == "auto":
        from .engine.recipe import AutoTraining

        training = AutoTraining(initial, target, options, blur, symmetry, device, held_out)
    else:
        from .engine.fields import new_field
        from .engine.training import Training

        pair = prepare(initial, target, *levels, options.bin_size, held_out=held_out)
        if field is None:
            field = new_field(options.flow, options, pair, symmetry)
        side = options.bin_size * float(np.mean(initial.voxel_size))
        training = Training(pair, options, field, device, (blur / side, 0.0))
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
        from .engine.sinkhorn import transport_path

        reporter.note(transport_path(device))
    judge = Judge(initial, target, *levels, device, validation, held_out, blur)
    return training, Compared(initial, target, options.target_level, blur, judge)


def _blur_between(initial: DensityMap, target: DensityMap, options: TrainingOptions, reporter: Reporter) -> float:
    """Standard deviation (Å) of the Gaussian that makes the initial map as coarse as the target."""
    if options.blur is not None:
        return options.blur
    from .engine.relative_blur import estimate_blur

    blur = estimate_blur(initial.density, target.density, initial.voxel_size)
    if options.recipe == "auto" or options.loss == "correlation":
        reporter.note(
            f"{target.name} is as coarse as {initial.name} blurred by a Gaussian of {blur:.2f} Å (estimated)."
            if blur > 0
            else f"{target.name} is not coarser than {initial.name}."
        )
    return blur


def _run_training(
    run: RunDirectory,
    content: dict[str, Any],
    training: Training | AutoTraining,
    compared: Compared,
    reporter: Reporter,
    stop: StopRequest,
) -> None:
    """The steps from the first loss to the end, a stop, or a failure."""
    import torch

    from .engine.device import use_threads

    options, n_threads = training.options, torch.get_num_threads()
    run.write({**content, "versions": versions(), "updated": now()})
    before, started = float(content["seconds"]), time.monotonic()
    keeper = _Keeper(run, content, training, compared, reporter, before, started)
    try:
        reporter.start(
            directory=str(run.path.absolute()),
            device=content["device"]["used"],
            n_points=content["n_points"],
            step=training.step,
            n_steps=training.n_steps,
            period=options.period,
        )
        while True:
            use_threads(compared.judge.device, training.n_points * options.width, n_threads)
            keeper.pass_on_notes()
            if training.step % options.period == 0:
                keeper.checkpoint()
            if training.finished or stop:
                break
            training.update()
            training.evaluate()
            reporter.step(training.step, keeper.last_loss)
        keeper.finish()
    except BrokenPipeError:
        keeper.save(keeper.last_state(), weights=FINAL_WEIGHTS)
        raise
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        keeper.fail(error)
    finally:
        torch.set_num_threads(n_threads)


class _Keeper:
    """Writes what a run leaves behind."""

    def __init__(
        self,
        run: RunDirectory,
        content: dict[str, Any],
        training: Training | AutoTraining,
        compared: Compared,
        reporter: Reporter,
        before: float,
        started: float,
    ) -> None:
        self._run, self._content, self._training, self._options = run, content, training, training.options
        self._reporter, self._before, self._started = reporter, before, started
        self._saved_step: int | None = training.step if (run / STATE_FILE).exists() else None
        self._warned = False
        self._record = Record(run, compared, training.step)
        self._told_before = {key: list(content.get(key, ())) for key in ("notes", "warnings")}

    def last_loss(self) -> float:
        return self._training.losses[-1]

    def pass_on_notes(self) -> None:
        """What the recipe has chosen."""
        for note in self._training.notes:
            self._reporter.note(note)
        self._training.notes.clear()

    def checkpoint(self) -> None:
        """At the end of a period: save, and say so."""
        name = f"net_{self._training.step // self._options.period}.pt"
        self.save("running", weights=name)
        seconds = time.monotonic() - self._started
        outside = self._content["mass_outside"]
        self._reporter.checkpoint(
            self._training.step,
            self.last_loss(),
            seconds,
            weights=str((self._run / name).absolute()),
            mass_outside=outside,
            **self._record.last_measures(self._training.step),
        )
        if outside >= _SAID_SHARE and not self._warned:
            self._warned = True
            self._reporter.warning(
                f"{outside:.2%} of the mass has left the box at step {self._training.step}, and is lost there. "
                f"If it grows, use maps in a larger box."
            )

    def save(self, state: str, weights: str) -> None:
        """Weights, measures, losses, all for resuming, run.json, in this order."""
        from .engine.checkpoint import save_state, save_weights

        losses = self._training.losses  # first, for it fails if they are not numbers
        save_weights(self._run / weights, self._training.velocity)
        seconds = self._before + time.monotonic() - self._started
        self._record.take(self._training.velocity, self._training.step, seconds, losses[-1], weights)
        self._run.write_losses(losses)
        save_state(self._run / STATE_FILE, self._training.state())
        if weights != FINAL_WEIGHTS:  # of a run that had ended and now goes on
            (self._run / FINAL_WEIGHTS).unlink(missing_ok=True)
        self._saved_step = self._training.step
        self._content = {
            **self._content,
            "best": self._record.best(),
            "verdict": self._record.verdict(),
            "notes": self._told_before["notes"] + self._reporter.notes,
            "warnings": self._told_before["warnings"] + self._reporter.warnings,
            "checkpoints": self._record.checkpoints(),
            "state": state,
            "step": self._training.step,
            "loss": losses[-1],
            "mass_outside": self._training.mass_outside(),
            "seconds": round(seconds, 3),
            "versions": versions(),
            "updated": now(),
        }
        self._run.write(self._content)

    def last_state(self) -> str:
        """The state of a run that ends now."""
        return "finished" if self._training.finished else "stopped"

    def finish(self) -> None:
        """The last save, and what to do next."""
        state = self.last_state()
        self.save(state, weights=FINAL_WEIGHTS)
        if self._content["reports"]:
            self._conclude()
        training, path = self._training, self._run.path
        text = f"{FINAL_WEIGHTS} is in {path}."
        outside = self._content["mass_outside"]
        if outside >= _SAID_SHARE:
            text += f" {outside:.2%} of the mass lies outside the box."
        if state == "stopped":
            text = (
                f"Stopped at step {training.step} of {training.n_steps}; all is saved. "
                f"Go on with: cryotrans-train --resume -d {_quoted(self._to_resume())}"
            )
        self._reporter.end(
            state,
            text,
            directory=str(path.absolute()),
            weights=str((self._run / FINAL_WEIGHTS).absolute()),
            step=training.step,
            n_steps=training.n_steps,
            loss=self.last_loss(),
            seconds=self._content["seconds"],
            mass_outside=outside,
            best=self._content["best"],
            verdict=self._content["verdict"],
        )

    def _to_resume(self) -> Path:
        """The directory to name to --resume: that of all legs, if this is one of several."""
        return self._run.path.parent if "leg" in self._content else self._run.path

    def _conclude(self) -> None:
        """Maps of the motion and the report; what they lack is no loss to the training."""
        try:
            judgement = self._record.judgement_of_best()
            if judgement is not None:
                self._reporter.note(conclude(self._run, self._record.compared, judgement))
        except (InputError, OSError, MemoryError, RuntimeError) as error:
            self._reporter.warning(f"The maps of the motion and the report are not whole: {in_a_sentence(error)}")

    def fail(self, error: Exception) -> NoReturn:
        """Leave the last good checkpoint, say in run.json what happened if that can still be written."""
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise error
        text = in_a_sentence(error)
        if self._saved_step is not None:
            diverged = isinstance(error, InputError)  # and would again, were the same steps made from there
            way_out = "a new run can start from its last weights (-w)" if diverged else "go on with --resume"
            text += f" The checkpoint of step {self._saved_step} in {self._to_resume()} is whole; {way_out}."
        with contextlib.suppress(OSError):
            self._run.write({**self._content, "state": "failed", "message": text, "updated": now()})
        raise InputError(text) from error


def _quoted(path: Path) -> str:
    """As it has to be typed."""
    return subprocess.list2cmdline([str(path)]) if sys.platform == "win32" else shlex.quote(str(path))


def read_pair(said: dict[str, Any], reporter: Reporter) -> tuple[DensityMap, DensityMap]:
    """Both maps on the initial's grid, after all that can be said against the options."""
    missing = [name for name in _REQUIRED if name not in said]
    maps = {}
    for key in ("initial", "target"):
        if f"{key}_map" in said:
            maps[key] = read_map(said[f"{key}_map"])
        if f"{key}_threshold" in missing and key in maps:
            raise InputError(_no_level_text(maps[key], _FLAGS[f"{key}_threshold"]))
    if missing:
        spoken = {name: name.replace("_", "-") for name in missing} | {"n_steps": "n_steps"}
        flags = ", ".join(f"{_FLAGS[name]} (--{spoken[name]})" for name in missing)
        raise InputError(f"Missing: {flags}. cryotrans-train --help lists the options.")
    initial, target = maps["initial"], maps["target"]
    initial, target = assume_grid_of(initial, target), assume_grid_of(target, initial)
    for density_map in (initial, target):
        for note in density_map.notes:
            reporter.warning(note)
    above_level(target, said["target_threshold"])  # its range is said of the map as it came
    if not same_grid(initial, target):
        reporter.note(
            f"{target.name} ({grid_text(target)}) is resampled onto the grid of {initial.name} ({grid_text(initial)})."
        )
        target = resample(target, initial)
        if not (target.density >= said["target_threshold"]).any() or not (target.density > 0).any():
            raise InputError(
                f"Nothing of {target.name} above level {said['target_threshold']:g} lies in the box of {initial.name}: "
                f"the maps do not overlap. Move one onto the other first, or mend the origin in its header."
            )
    return initial, target


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
    return _FLAGS.get(name, f"--{name}")


def _read_validation(path: str | None, initial: DensityMap, reporter: Reporter) -> DensityMap | None:
    """Another map of the target's state, on the initial's grid."""
    if path is None:
        return None
    validation = assume_grid_of(read_map(path), initial)
    for note in validation.notes:
        reporter.warning(note)
    if same_grid(initial, validation):
        return validation
    reporter.note(f"{validation.name} is resampled onto the grid of {initial.name}.")
    return resample(validation, initial)


def _no_level_text(density_map: DensityMap, flag: str) -> str:
    density, level = density_map.density, suggested_level(density_map)
    return (
        f"No level given for {density_map.name} ({flag}). Its values run from {density.min():.4g} to "
        f"{density.max():.4g}; {flag} {level:.3g} keeps its highest 1 %. Best is the contour level that you would show."
    )


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


def map_of_run(key: str, content: dict[str, Any], said: dict[str, Any]) -> str:
    """Where the run's initial or target map is now."""
    flag, path = _FLAGS[f"{key}_map"], said.get(f"{key}_map", content[key]["path"])
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}, the {key} map of the run. Say where it is now ({flag}).")
    if digest(path) != content[key]["sha256"]:
        raise InputError(
            f"{path} is not the {key} map that the run was begun with: its content is another. Give that one ({flag}), "
            f"or start a new run in another directory."
        )
    return path


def _load_start(path: Path | None, said: dict[str, Any]) -> Field | None:
    if path is None:
        return None
    from .engine.checkpoint import load_weights

    return load_weights(path, said.get("depth"), said.get("width"))


def _choose_device(name: str, gpu: int | None) -> tuple[torch.device, str]:
    from .engine.device import choose_device

    return choose_device(name, gpu)
