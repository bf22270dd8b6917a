"""The two programs, cryotrans-train and cryotrans-predict.

Options, screen and files are those of CryoTRANS 1.0.0, and some more.  `python <this package> train …` runs the same
without installation, and with --progress json is the worker that ChimeraX starts.

Exit status: 0 done; 2 something the user can mend, said in one sentence; 128 + n stopped by signal n, after saving.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import hashlib
import os
import platform
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__
from .engine.density_map import DensityMap, assume_grid_of, grid_text, read_map, resample, same_grid, write_map
from .engine.errors import InputError
from .engine.options import TrainingOptions
from .engine.preparation import PreparedPair, above_level, prepare, suggested_level
from .engine.run_directory import FINAL_WEIGHTS, RUN_FILE, STATE_FILE, RunDirectory
from .progress import CHOICES, Reporter, make_reporter

if TYPE_CHECKING:
    import torch

    from .engine.training import Training
    from .engine.velocity import VelocityField

_BAD_INPUT = 2


def train_program() -> int:
    """Entry point of cryotrans-train."""
    return main(["train", *sys.argv[1:]])


def predict_program() -> int:
    """Entry point of cryotrans-predict."""
    return main(["predict", *sys.argv[1:]])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the programs.

    Args:
        argv: "train" or "predict", then its options; by default what was typed.
    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    programs = {"train": (_train_parser, _train), "predict": (_predict_parser, _predict)}
    if not arguments or arguments[0] not in programs:
        asked = bool(arguments) and arguments[0] in ("-h", "--help", "--version")
        text = f"CryoTRANS {__version__}. Say train or predict first; train --help lists the options."
        print(text, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else _BAD_INPUT
    make_parser, program = programs[arguments[0]]
    # Threads that wait busily for each other stall each other where the machine has other work, such as ChimeraX.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    reporter = Reporter()
    stop = StopRequest()
    try:
        options = make_parser().parse_args(arguments[1:])
        reporter = make_reporter(options.progress)
        with stop.listening(options.stop_with_input):
            program(options, arguments, reporter, stop)
    except BrokenPipeError:  # who read our output is gone, and what there was to save is saved
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes it once more at its end
        return stop.exit_status
    except InputError as error:
        reporter.close()
        reporter.error(" ".join(str(error).splitlines()))
        return _BAD_INPUT
    except (OSError, MemoryError, RuntimeError) as error:
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise
        reporter.close()
        reporter.error(_in_a_sentence(error))
        return _BAD_INPUT
    except KeyboardInterrupt:  # a second request to stop
        reporter.close()
        return stop.exit_status or 128 + signal.SIGINT
    return stop.exit_status


class StopRequest:
    """Ctrl-C, SIGTERM or the end of standard input, kept until the step is finished; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self._signal = 0
        self._input_closed = False

    def __bool__(self) -> bool:
        return self._signal != 0 or self._input_closed

    @property
    def exit_status(self) -> int:
        return 128 + self._signal if self._signal else 0

    @contextlib.contextmanager
    def listening(self, to_input: bool) -> Iterator[None]:
        """Take signals over, and give them back afterwards; listen to standard input as well if wanted."""

        def ask(number: int, frame: Any) -> None:
            if self._signal:
                raise KeyboardInterrupt
            self._signal = number

        names = ["SIGINT", "SIGTERM", "SIGBREAK"]  # the last is Windows' way to ask a child process
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.signal(number, ask) for number in numbers}
        if to_input:
            threading.Thread(target=self._wait_for_end_of_input, daemon=True).start()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait_for_end_of_input(self) -> None:
        # The file number, not sys.stdin: its lock would hold up the interpreter's end.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        self._input_closed = True


def _name(text: str) -> str:
    """The type of options that name something: an empty name comes from a script's variable that was never set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}. {self.prog} --help lists the options.")


def _train_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cryotrans-train",
        description="Learn the flow that carries the initial map onto the target map.",
        epilog="Levels are contour levels: density below is left out. A run needs -i0 -t0 -i1 -t1 -d -n -p, or "
        "--resume -d.",
        argument_default=argparse.SUPPRESS,  # so that --resume can tell what was said
    )
    add = parser.add_argument
    add("-i0", "--initial-map", type=_name, metavar="MAP", help="initial map, the one of high resolution (MRC, CCP4)")
    add("-t0", "--initial-threshold", type=float, metavar="LEVEL", help="its contour level")
    add("-i1", "--target-map", type=_name, metavar="MAP", help="target map, of another conformation")
    add("-t1", "--target-threshold", type=float, metavar="LEVEL", help="its contour level")
    add("-d", "--directory", type=_name, metavar="DIR", help="directory for the run, made if missing")
    add("-n", "--n_steps", type=int, metavar="N", help="training steps")
    add("-p", "--period", type=int, metavar="N", help="steps from one saving of the weights to the next")
    add("-w", "--weight", type=_name, metavar="FILE", help="weights to start from (default: random)")
    add("-b", "--binning", type=int, metavar="N", help="average NxNxN voxels first (default: 1)")
    add("--depth", type=int, metavar="N", help="linear layers of the network (default: 3, or what -w has)")
    add("--width", type=int, metavar="N", help="hidden units of a layer (default: 100, or what -w has)")
    add("--w2_eps", type=float, metavar="X", help="epsilon of the transport, box units squared (default: 1e-4)")
    add("--w2_iter", type=int, metavar="N", help="rounds of the transport (default: 5)")
    add("--l2", action="store_true", help="squared difference instead of transport, to refine; use --lr 1e-4")
    add("--lr", type=float, metavar="X", help="learning rate (default: 1e-3)")
    add("--mu_mesh", type=float, metavar="X", help="weight of the rigidity (default: none)")
    add("--seed", type=int, metavar="N", help="seed of the random start (default: drawn, and noted in run.json)")
    _add_common(parser)
    add("--resume", action="store_true", help="go on with the run in the directory; -n may be raised")
    add("--overwrite", action="store_true", help="replace an earlier run in the directory")
    return parser


def _predict_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cryotrans-predict",
        description="Carry a map along a trained flow and write the frames of its trajectory.",
        epilog="The trajectory is an interpolation between two maps, not a simulation of the motion.",
    )
    add = parser.add_argument
    add("-i", "--initial-map", type=_name, required=True, metavar="MAP", help="the map to carry")
    add("-t", "--initial-threshold", type=float, default=0.0, metavar="LEVEL", help="its contour level (default: 0)")
    add("-d", "--directory", type=_name, required=True, metavar="DIR", help="directory for the frames, made if missing")
    add(
        "-p",
        "--prefix",
        type=_name,
        default="frame",
        metavar="NAME",
        help="files are NAME_00.mrc, NAME_01.mrc, ... (default: frame)",
    )
    add("-w", "--weight", type=_name, required=True, metavar="FILE", help="weights that training wrote, such as net.pt")
    add("--depth", type=int, metavar="N", help="not needed: read off the weights")
    add("--width", type=int, metavar="N", help="not needed: read off the weights")
    add("--frames", type=int, default=11, metavar="N", help="number of frames from one end to the other (default: 11)")
    add("--reverse", action="store_true", help="number the frames from the target to the initial map")
    _add_common(parser)
    add("--overwrite", action="store_true", help="replace earlier frames of the same name in the directory")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-g", "--gpu", type=int, metavar="N", help="which NVIDIA GPU (default: 0)", default=None)
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    parser.add_argument("--progress", default="auto", choices=CHOICES, help="what to show meanwhile (default: auto)")
    parser.add_argument(
        "--stop-with-input",
        action="store_true",
        default=False,
        help="save and end when standard input is closed: for programs that start this one",
    )
    parser.add_argument("--version", action="version", version=f"CryoTRANS {__version__}")


# ---------------------------------------------------------------------------------------------------------- training

_DEFAULTS = {"binning": 1, "w2_eps": 1e-4, "w2_iter": 5, "l2": False, "lr": 1e-3, "mu_mesh": None}
_REQUIRED = ("initial_map", "initial_threshold", "target_map", "target_threshold", "directory", "n_steps", "period")
_FLAGS = dict(zip(_REQUIRED, ("-i0", "-t0", "-i1", "-t1", "-d", "-n", "-p")))


def _train(options: argparse.Namespace, command: list[str], reporter: Reporter, stop: StopRequest) -> None:
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
    initial, target = _read_pair(said, reporter)
    wanted = {**_DEFAULTS, **said}
    weights_from = Path(said["weight"]) if "weight" in said else None
    velocity = _load_start(weights_from, said)
    if weights_from is not None and said.get("overwrite") and run.owns(weights_from):
        raise InputError(
            f"--overwrite would remove {weights_from}, the weights to start from (-w). Choose another directory (-d)."
        )
    training_options = TrainingOptions(
        initial_level=wanted["initial_threshold"],
        target_level=wanted["target_threshold"],
        n_steps=wanted["n_steps"],
        period=wanted["period"],
        bin_size=wanted["binning"],
        depth=velocity.depth if velocity else said.get("depth", 3),
        width=velocity.width if velocity else said.get("width", 100),
        loss="l2" if wanted["l2"] else "w2",
        epsilon=wanted["w2_eps"],
        n_iterations=wanted["w2_iter"],
        learning_rate=wanted["lr"],
        mu_mesh=wanted["mu_mesh"],
        seed=said["seed"] if "seed" in said else secrets.randbelow(2**31),
    )
    pair = _prepare(initial, target, training_options, reporter)
    device, why = _choose_device(options.device, options.gpu)
    reporter.note(why)
    training = _begin(pair, training_options, velocity or _random_start(training_options), device)
    content = {
        "program": "CryoTRANS for ChimeraX",
        "command": command,
        "state": "running",
        "step": 0,
        "options": training_options.to_dict(),
        "weights_from": str(weights_from.absolute()) if weights_from else None,
        "initial": _describe(initial, said["initial_map"], training_options.initial_level),
        "target": _describe(target, said["target_map"], training_options.target_level),
        "n_points": len(pair.weights),
        "device": {"asked": options.device, "gpu": options.gpu, "used": str(device)},
        "started": _now(),
        "seconds": 0.0,
    }
    with run.made(said.get("overwrite", False)):
        _run_training(run, content, training, reporter, stop)


def _resume(
    run: RunDirectory, content: dict[str, Any], said: dict[str, Any], reporter: Reporter, stop: StopRequest
) -> None:
    from .engine.checkpoint import load_state

    options = _recorded_options(run, content)
    _check_same_run(content, options, said)
    if "n_steps" in said:
        options = dataclasses.replace(options, n_steps=said["n_steps"])
    if not (run / STATE_FILE).is_file():
        raise InputError(f"The run in {run.path} ended before its first checkpoint. Start it afresh (--overwrite).")
    state = load_state(run / STATE_FILE)
    step = state["step"]
    if step >= options.n_steps:
        raise InputError(
            f"The run in {run.path} has done its {step} steps. To go on beyond, give more: --resume -n {2 * step or 1}."
        )
    paths = {key: _map_of_run(key, content, said) for key in ("initial", "target")}
    reader = {"initial_map": paths["initial"], "target_map": paths["target"]}
    levels = {"initial_threshold": options.initial_level, "target_threshold": options.target_level}
    initial, target = _read_pair({**reader, **levels, "n_steps": 0, "period": 1, "directory": ""}, reporter)
    pair = _prepare(initial, target, options, reporter)
    asked = content["device"]
    spoken = said["device"] != "auto" or said["gpu"] is not None
    device, why = _choose_device(*((said["device"], said["gpu"]) if spoken else (asked["asked"], asked["gpu"])))
    reporter.note(why)
    reporter.note(f"Going on from step {step} of {options.n_steps}.")
    content = {**content, "state": "running", "options": options.to_dict(), "message": None}
    content["device"] = {**asked, "used": str(device)}
    for key, path in paths.items():
        content[key] = {**content[key], "path": str(Path(path).absolute())}
    training = _begin(pair, options, _random_start(options), device, state)
    _run_training(run, content, training, reporter, stop)


def _begin(
    pair: PreparedPair,
    options: TrainingOptions,
    velocity: VelocityField,
    device: torch.device,
    state: dict[str, Any] | None = None,
) -> Training:
    """The training with its first loss taken, which shows whether memory suffices before anything is written."""
    from .engine.training import Training

    training = Training(pair, options, velocity, device)
    if state is not None:
        training.restore(state)
    training.evaluate()
    _ = training.losses  # fails if it is not a number
    return training


def _run_training(
    run: RunDirectory, content: dict[str, Any], training: Training, reporter: Reporter, stop: StopRequest
) -> None:
    """The steps from the first loss to the end, a stop, or a failure."""
    options = training.options
    run.write({**content, "versions": _versions(), "updated": _now()})
    before, started = float(content["seconds"]), time.monotonic()
    keeper = _Keeper(run, content, training, reporter, before, started)
    try:
        reporter.start(
            directory=str(run.path.absolute()),
            device=content["device"]["used"],
            n_points=content["n_points"],
            step=training.step,
            n_steps=options.n_steps,
            period=options.period,
        )
        while True:
            if training.step % options.period == 0:
                keeper.checkpoint()
            if training.step == options.n_steps or stop:
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


class _Keeper:
    """Writes what a run leaves behind."""

    def __init__(
        self,
        run: RunDirectory,
        content: dict[str, Any],
        training: Training,
        reporter: Reporter,
        before: float,
        started: float,
    ) -> None:
        self._run, self._content, self._training, self._options = run, content, training, training.options
        self._reporter, self._before, self._started = reporter, before, started
        self._saved_step: int | None = training.step if (run / STATE_FILE).exists() else None
        self._warned = False

    def last_loss(self) -> float:
        return self._training.losses[-1]

    def checkpoint(self) -> None:
        """At the end of a period: save, and say so."""
        name = f"net_{self._training.step // self._options.period}.pt"
        self.save("running", weights=name)
        seconds = time.monotonic() - self._started
        outside = self._content["mass_outside"]
        self._reporter.checkpoint(
            self._training.step, self.last_loss(), seconds, weights=str(self._run / name), mass_outside=outside
        )
        if outside > 0 and not self._warned:
            self._warned = True
            self._reporter.warning(
                f"{outside:.2%} of the mass has left the box at step {self._training.step}, and is lost there. "
                f"If it grows, use maps in a larger box."
            )

    def save(self, state: str, weights: str) -> None:
        """Weights, losses, all for resuming, run.json, in this order."""
        from .engine.checkpoint import save_state, save_weights

        losses = self._training.losses  # first, for it fails if they are not numbers
        save_weights(self._run / weights, self._training.velocity)
        self._run.write_losses(losses)
        save_state(self._run / STATE_FILE, self._training.state())
        self._saved_step = self._training.step
        self._content = {
            **self._content,
            "state": state,
            "step": self._training.step,
            "loss": losses[-1],
            "mass_outside": self._training.mass_outside(),
            "seconds": round(self._before + time.monotonic() - self._started, 3),
            "versions": _versions(),
            "updated": _now(),
        }
        self._run.write(self._content)

    def last_state(self) -> str:
        """The state of a run that ends now."""
        return "finished" if self._training.step == self._options.n_steps else "stopped"

    def finish(self) -> None:
        """The last save, and what to do next."""
        state = self.last_state()
        self.save(state, weights=FINAL_WEIGHTS)
        training, path = self._training, self._run.path
        text = f"{FINAL_WEIGHTS} is in {path}."
        outside = self._content["mass_outside"]
        if outside > 0:
            text += f" {outside:.2%} of the mass lies outside the box."
        if state == "stopped":
            text = (
                f"Stopped at step {training.step} of {self._options.n_steps}; all is saved. "
                f"Go on with: cryotrans-train --resume -d {path}"
            )
        self._reporter.end(
            state,
            text,
            directory=str(path.absolute()),
            weights=str((self._run / FINAL_WEIGHTS).absolute()),
            step=training.step,
            n_steps=self._options.n_steps,
            loss=self.last_loss(),
            seconds=self._content["seconds"],
            mass_outside=outside,
        )

    def fail(self, error: Exception) -> NoReturn:
        """Leave the last good checkpoint, say in run.json what happened if that can still be written."""
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise error
        text = _in_a_sentence(error)
        if self._saved_step is not None:
            diverged = isinstance(error, InputError)  # and would again, were the same steps made from there
            way_out = "a new run can start from its last weights (-w)" if diverged else "go on with --resume"
            text += f" The checkpoint of step {self._saved_step} in {self._run.path} is whole; {way_out}."
        with contextlib.suppress(OSError):
            self._run.write({**self._content, "state": "failed", "message": text, "updated": _now()})
        raise InputError(text) from error


def _read_pair(said: dict[str, Any], reporter: Reporter) -> tuple[DensityMap, DensityMap]:
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


def _prepare(initial: DensityMap, target: DensityMap, options: TrainingOptions, reporter: Reporter) -> PreparedPair:
    pair = prepare(initial, target, options.initial_level, options.target_level, options.bin_size)
    if len({f"{size:.3f}" for size in initial.voxel_size}) > 1:
        reporter.warning(f"The voxels of {initial.name} are not cubes; distances are measured in voxels.")
    if any(n % options.bin_size for n in initial.grid_shape):
        reporter.note(f"The box does not divide by {options.bin_size}: it is padded with empty voxels.")
    return pair


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
        _ = options.initial_level + options.target_level + options.n_steps
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
        "lr": options.learning_rate,
        "mu_mesh": options.mu_mesh,
        "seed": options.seed,
    }
    for name, value in recorded.items():
        now = said.get(name, value)
        if name == "weight" and name in said:
            now = str(Path(said[name]).absolute())
        if now != value:
            flag = _FLAGS.get(name, f"--{name}")
            begun = f"without {flag}" if value is None or value is False else f"with {flag} {value}"
            raise InputError(
                f"The run was begun {begun}, not with {now}. With --resume leave it out, or start a new run in another "
                f"directory."
            )


def _map_of_run(key: str, content: dict[str, Any], said: dict[str, Any]) -> str:
    """Where the run's initial or target map is now."""
    flag, path = _FLAGS[f"{key}_map"], said.get(f"{key}_map", content[key]["path"])
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}, the {key} map of the run. Say where it is now ({flag}).")
    if _digest(path) != content[key]["sha256"]:
        raise InputError(
            f"{path} is not the {key} map that the run was begun with: its content is another. Give that one ({flag}), "
            f"or start a new run in another directory."
        )
    return path


def _load_start(path: Path | None, said: dict[str, Any]) -> VelocityField | None:
    if path is None:
        return None
    from .engine.checkpoint import load_weights

    return load_weights(path, said.get("depth"), said.get("width"))


def _random_start(options: TrainingOptions) -> VelocityField:
    from .engine.velocity import VelocityField

    return VelocityField(options.depth, options.width, options.seed)


# -------------------------------------------------------------------------------------------------------- prediction


_MOST_FRAMES = 10_000


def _predict(options: argparse.Namespace, command: list[str], reporter: Reporter, stop: StopRequest) -> None:
    density_map = read_map(options.initial_map)
    for note in density_map.notes:
        reporter.warning(note)
    above_level(density_map, options.initial_threshold)
    n_frames = options.frames
    if not 2 <= n_frames <= _MOST_FRAMES:
        raise InputError(f"A trajectory needs 2 to {_MOST_FRAMES} frames (--frames), not {n_frames}.")
    if Path(options.prefix).name != options.prefix:
        raise InputError(f"The prefix {options.prefix!r} (-p) must be the beginning of a file name, without a folder.")
    directory = Path(options.directory)
    earlier = _earlier_frames(directory, options.prefix)
    if earlier and not options.overwrite:
        raise InputError(
            f"{directory} already holds {len(earlier)} frames named {options.prefix}_….mrc. Use --overwrite to "
            f"replace them, another prefix (-p) or another directory (-d)."
        )
    if any(path.samefile(options.initial_map) for path in earlier):
        raise InputError(
            f"--overwrite would remove {options.initial_map}, the map to carry. Choose another prefix (-p) or another "
            f"directory (-d)."
        )
    from .engine.checkpoint import load_weights
    from .engine.prediction import predict

    velocity = load_weights(Path(options.weight), options.depth, options.width)
    _warn_of_another_grid(Path(options.weight), density_map, reporter)
    device, why = _choose_device(options.device, options.gpu)
    reporter.note(why)
    frames = predict(density_map, velocity, device, options.initial_threshold, n_frames, options.reverse)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The directory {directory} cannot be written: {error.strerror}. Choose another one (-d)."
        ) from error
    reporter.start(directory=str(directory.absolute()), device=str(device), n_frames=n_frames)
    digits = max(2, len(str(n_frames - 1)))
    names: list[str] = []
    outside = 0.0
    for frame in frames:
        if stop:
            break
        if not names:  # memory has sufficed for one frame, so it will for all
            for path in earlier:
                path.unlink()
        name = f"{options.prefix}_{frame.number:0{digits}d}.mrc"
        write_map(directory / name, frame.density_map)
        names.append(name)
        outside = max(outside, frame.mass_outside)
        reporter.frame(str((directory / name).absolute()), frame.number, frame.time)
    if outside > 0:
        reporter.warning(f"Up to {outside:.2%} of the mass leaves the box on the way and is missing in the frames.")
    state = "stopped" if stop else "finished"
    names.sort()
    text = f"{len(names)} frames, {names[0]} to {names[-1]}, are in {directory}." if names else "No frame was written."
    reporter.end(state, text, directory=str(directory.absolute()), files=names, mass_outside=outside)


def _earlier_frames(directory: Path, prefix: str) -> list[Path]:
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; wanted is a directory. Choose another name (-d).")
    return [
        path
        for path in sorted(directory.glob("*.mrc"))
        if path.stem.startswith(prefix + "_") and path.stem[len(prefix) + 1 :].isdigit()
    ]


def _warn_of_another_grid(weights: Path, density_map: DensityMap, reporter: Reporter) -> None:
    """A flow is in units of the box it was trained in: on another box it does something else."""
    try:
        trained = RunDirectory(weights.parent).read()["initial"]
        name, grid = trained["name"], (trained["grid_shape"], trained["voxel_size"])
    except (InputError, KeyError, TypeError):
        return
    now = _describe_grid(density_map)
    if grid != (now["grid_shape"], now["voxel_size"]):
        reporter.warning(
            f"{weights.name} was trained on {name}, another grid than that of {density_map.name} "
            f"({grid_text(density_map)}): the flow is scaled to the box and may not fit."
        )


# ------------------------------------------------------------------------------------------------------------ common


def _choose_device(name: str, gpu: int | None) -> tuple[torch.device, str]:
    from .engine.device import choose_device

    return choose_device(name, gpu)


def _describe(density_map: DensityMap, path: str, level: float) -> dict[str, Any]:
    described = {"path": str(Path(path).absolute()), "sha256": _digest(path), "level": level}
    return {**described, **_describe_grid(density_map)}


def _describe_grid(density_map: DensityMap) -> dict[str, Any]:
    return {
        "name": density_map.name,
        "grid_shape": list(density_map.grid_shape),
        "voxel_size": [round(float(size), 6) for size in density_map.voxel_size],
        "origin": [round(float(place), 6) for place in density_map.origin],
    }


def _digest(path: str) -> str | None:
    """SHA-256 of a file; None for a pipe, which cannot be read twice."""
    if not Path(path).is_file():
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    import numpy
    import torch

    return {
        "cryotrans": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _in_a_sentence(error: BaseException) -> str:
    """What went wrong and the way out, for failures of the machine."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))
        advice = " Make room on the disk." if full else ""
        return f"Cannot write or read{where}: {error.strerror or error}.{advice}"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "alloc" in str(error).lower():
        return "Out of memory. Use a binning (-b 2), a higher level, a smaller network, or --device cpu."
    return f"Computing failed: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}."
