"""The commands: arguments, checks on models and folders, and what is said to the user.

What ChimeraX can say against a command is said before anything is written or started; the worker says the rest.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any, NamedTuple

from chimerax.atomic import StructureArg
from chimerax.core.commands import (
    Annotation,
    AnnotationError,
    BoolArg,
    Bounded,
    CmdDesc,
    ColorArg,
    EnumOf,
    FloatArg,
    FloatsArg,
    IntArg,
    OpenFileNameArg,
    OpenFolderNameArg,
    Or,
    SaveFileNameArg,
    SaveFolderNameArg,
    StringArg,
    TupleOf,
    next_token,
    register,
)
from chimerax.core.commands import run as run_command
from chimerax.core.errors import UserError
from chimerax.map.mapargs import MapArg, MapsArg
from chimerax.map_series.vseries_command import SeriesArg

from .arrows import SPACING, arrows_of, draw_arrows, read_motion
from .background import BackgroundTask
from .coloring import MEASURES, Palette, PaletteArg, color_surface, grid_of, map_path, place_of, subject_of
from .engine import demo_pair
from .engine.density_map import DensityMap, write_map
from .engine.errors import InputError
from .engine.options import FLOWS, INTEGRATORS, LOSSES, RECIPES
from .engine.run_directory import FINAL_WEIGHTS, RunDirectory
from .job import CryoTransJob, Frames
from .markup import link, quoted
from .movie import SECONDS, Rotation, RotationArg, record_movie
from .riders import FILE, RIGID, Riders, StructureToCarryArg
from .runs import Run, free_folder, known_runs, runs_of, runs_table, source_of
from .volumes import check_level, density_map_of, density_map_on, model_text, shown_level, suggested_level
from .worker_python import Installation, find_python

INTERPOLATION = (
    "The trajectory will be an interpolation between the two maps, not a simulation: it says nothing of the true path, "
    "of times or of energies."
)
_LEARNING_RATES = {"w2": 1e-3, "l2": 1e-4, "correlation": 1e-3}
_N_STEPS = 1000
_INITIAL_COLOR, _TARGET_COLOR = "cornflowerblue", "sandybrown"
_ARROW_COLOR = (30, 30, 30, 255)  # r, g, b, a


class DeviceArg(Annotation):
    """auto, cpu, mps, cuda or cuda:N."""

    name = "one of 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[str, str, str]:
        if not text:
            raise AnnotationError(f"Expected {cls.name}")
        token, text, rest = next_token(text)
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", token):
            raise AnnotationError(f"Expected {cls.name}, got '{token}'")
        return token, text, rest


class MapsInOrderArg(Annotation):
    """One map or several, models by their numbers in the order typed: #4,2,3 is #4, then #2, then #3."""

    name = "a density map specifier, or several in order"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[list[Any], str, str]:
        maps, used, rest = MapsArg.parse(text, session)
        if re.fullmatch(r"#!?\d+([,#]+\d+)+", used.strip()):
            numbers = re.findall(r"\d+", used)
            maps = [MapArg.parse(f"#{number}", session)[0] for number in numbers]
        if not maps:
            raise UserError("Must specify one map or more, got 0")
        return maps, used, rest


_COUNT = Bounded(IntArg, min=1)
_POSITIVE = Bounded(FloatArg, min=0, inclusive=False)
_NOT_NEGATIVE = Bounded(FloatArg, min=0)
_SEED = Bounded(IntArg, min=0, max=2**63 - 1)
_FRAMES = Bounded(IntArg, min=2, max=10_000)
_PIXELS = TupleOf(Bounded(IntArg, min=2, max=16_384), 2)  # formats halve the resolution of colours


# Training


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
    level = _level(initial, level, "level")
    to_levels = [_level(target, to_level, "toLevel") for target in targets]
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
    python = find_python(session)
    initial_map = density_map_of(initial)
    target_maps = [density_map_on(target, initial) for target in targets]
    validation_map = density_map_on(validate, initial) if validate is not None else None
    for target, target_map, its_level in zip(targets, target_maps, to_levels):
        _check_overlap(initial, target, target_map, its_level)
    folder = _new_run_folder(session, directory, "_to_".join(map(_stem, [initial, *targets])))

    run = Run(folder, initial, targets[-1], targets[:-1])
    try:
        run.initial_path.parent.mkdir(exist_ok=True)
        write_map(run.initial_path, initial_map)
        for path, target_map in zip(run.target_paths(), target_maps):
            write_map(path, target_map)
        if validation_map is not None:
            write_map(run.validation_path, validation_map)
        run.write_models()
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be written: {error.strerror}. Give another directory.") from error
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
    return _begin(session, run, python, training, level, frames, device, open, wait)


def resume(
    session: Any,
    folder: str,
    steps: int | None = None,
    frames: int | None = None,
    device: str | None = None,
    open: bool = True,
    wait: bool | None = None,
) -> CryoTransJob:
    """Go on with a run from its last checkpoint."""
    run = _run_in(session, folder)
    if run.is_active:
        raise UserError(f"The run in {run.folder} is being trained now.")
    content = _content(run)
    if "legs" in content and content["state"] == "finished":
        raise UserError(f"All legs of the run in {run.folder} are finished. For more steps, start a new run.")
    done, n_steps = content["step"], steps if steps is not None else content["n_steps"]
    settled = content["options"]["recipe"] == "auto" and content["state"] == "finished"  # never of several legs
    if settled and done != content["options"]["n_steps"]:
        raise UserError(
            f"The run in {run.folder} is finished: after {done} steps nothing improved any more. To go on with other "
            f"settings, start from its weights: cryotrans train … weights {quoted(run.folder / FINAL_WEIGHTS)}"
        )
    if done >= n_steps and "legs" not in content:
        raise UserError(
            f"The run in {run.folder} has done its {done} steps. To go on beyond, give more: "
            f"cryotrans resume {quoted(run.folder)} steps {2 * done or 1}"
        )
    python = find_python(session)
    run.forget_closed()
    run.initial = run.initial or _open_again(session, run, content, "initial")
    run.target = run.target or _open_again(session, run, content, "target")
    leg = f"leg {content['leg']}, " if "legs" in content else ""
    session.logger.info(f"CryoTRANS: going on with {run.title()} from {leg}step {done} of {n_steps}, in {run.folder}.")
    training = {"--resume": True, "-d": run.folder, "-n": steps, "--device": device}
    level = content["options"]["initial_level"]
    return _begin(session, run, python, training, level, frames, device or content["device"]["asked"], open, wait)


def _begin(
    session: Any,
    run: Run,
    python: Path,
    training: dict[str, object],
    level: float,
    n_frames: int | None,
    device: str,
    opens: bool,
    wait: bool | None,
) -> CryoTransJob:
    wanted = Frames(
        initial_path=_map_path(run, "initial"),
        cut=0.0,  # all there is, so that surfaces are as smooth as those of the initial map
        level=level,
        weights=None,
        options={"--frames": n_frames, "--device": device, "--no-report": True},
        folder=None,
        name=f"CryoTRANS {run.title()}",
    )
    job = CryoTransJob(session, run.title(), run, python, training, wanted, opens)
    run.task = job
    runs_of(session).add(session, run)
    _run_task(session, job, wait)
    return job


# Prediction


def predict(
    session: Any,
    initial: Any,
    run: str | None = None,
    weights: str | None = None,
    checkpoint: int | str | None = None,
    level: float | None = None,
    frames: int | None = None,
    times: list[float] | None = None,
    reverse: bool = False,
    integrator: str | None = None,
    substeps: int | None = None,
    model: Any = None,
    rigid: str | None = None,
    directory: str | None = None,
    name: str | None = None,
    device: str = "auto",
    wait: bool | None = None,
) -> Any:
    """Carry a map along a trained flow and open the frames; returns the series, or the job that will open it."""
    if run is not None and weights is not None:
        raise UserError("Give a run or weights, not both.")
    if checkpoint is not None and weights is not None:
        raise UserError("A checkpoint is one of a run: give a run with it, or weights alone.")
    if frames is not None and times is not None:
        raise UserError("Give a number of frames or their times, not both.")
    if rigid is not None and model is None:
        raise UserError(f"rigid {rigid} is for atoms: say which with model, as model #5.")
    trained = None if weights is not None else _run_for(session, initial, run)
    if trained is not None:
        content = _content(trained)
        weights_path = _weights_of(trained, checkpoint)
        shown = content["options"]["initial_level"]
    else:
        assert weights is not None
        weights_path = Path(weights).expanduser().absolute()
        shown = level
    cut = 0.0 if level is None else _level(initial, level, "level")
    if (now_shown := shown_level(initial)) is not None:
        shown = now_shown
    shown = suggested_level(initial) if shown is None else shown
    python = find_python(session)
    density_map = density_map_of(initial)
    riders = None
    if model is not None:
        riders = Riders(model, initial, rigid)
        riders.look_for_density(density_map, cut if trained is None else content["options"]["initial_level"], initial)
    folder = _new_frames_folder(directory, trained, initial)
    initial_path, atoms_path = folder / "initial.mrc", folder / FILE
    try:
        write_map(initial_path, density_map)
        if riders is not None:
            riders.write(atoms_path)
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be written: {error.strerror}. Give another directory.") from error
    if name is None:
        name = f"CryoTRANS {_way(initial, trained, reverse)}"
    wanted = Frames(
        initial_path=initial_path,
        cut=cut,
        level=shown,
        weights=weights_path,
        options={
            "--frames": frames,
            "--times": ",".join(f"{time:g}" for time in times) if times is not None else None,
            "--reverse": reverse,
            "--integrator": integrator,
            "--substeps": substeps,
            "--device": device,
            "--atoms": atoms_path if riders is not None else None,
        },
        folder=folder,
        name=name,
        riders=riders,
    )
    place = Run(trained.folder if trained is not None else folder, initial)
    job = CryoTransJob(session, _way(initial, trained, reverse), place, python, None, wanted)
    waited = _run_task(session, job, wait)
    return job.series if waited else job


def _weights_of(trained: Run, checkpoint: int | str | None) -> Path:
    """
    Raises:
        UserError: there are none.
    """
    path = trained.weights(checkpoint)
    if path is not None:
        return path
    if checkpoint is not None and trained.weights() == trained.folder:
        raise UserError(
            f"The run in {trained.folder} has several legs, each of which begins where the best checkpoint of the one "
            f"before ends. Leave checkpoint {checkpoint} out."
        )
    last = trained.weights("last")
    if last is None:
        raise UserError(f"The run in {trained.folder} has no weights yet: it has not come to its first checkpoint.")
    if checkpoint == "best":
        raise UserError(f"{trained.folder} does not say which checkpoint is its best. Use checkpoint last.")
    kept = sorted(int(path.stem[4:]) for path in trained.folder.glob("net_*.pt") if path.stem[4:].isdigit())
    numbers = ", ".join(map(str, kept))
    raise UserError(f"The run in {trained.folder} has no checkpoint {checkpoint}. It has {numbers or 'only the last'}.")


def _run_for(session: Any, initial: Any, folder: str | None) -> Run:
    if folder is not None:
        return _run_in(session, folder)
    found = runs_of(session).last_on(session, initial)
    if found is None:
        raise UserError(
            f"No run on {model_text(initial)} is known. Train one, cryotrans train #{initial.id_string} to …, or say "
            f"which: cryotrans predict #{initial.id_string} run FOLDER"
        )
    return found


def _way(initial: Any, trained: Run | None, reverse: bool) -> str:
    """ "A → B", "B → A", or "A" if it is not known where the flow leads."""
    names = trained.names_of_targets() if trained is not None else []
    if not names:
        return initial.name + (", reversed" if reverse else "")
    names = [initial.name, *names]
    return " → ".join(names[::-1] if reverse else names)


# Movies


def movie(
    session: Any,
    series: list[Any],
    model: Any = None,
    file: str | None = None,
    rotate: Rotation | None = None,
    oscillate: bool = False,
    size: tuple[int, int] | None = None,
    seconds: float = SECONDS,
) -> Path:
    """Record a volume series, with the commands that do it beside the movie."""
    if len(series) != 1:
        raise UserError(f"One volume series is wanted, as vseries play takes it, got {len(series)}.")
    [wanted] = series
    path = Path(file if file is not None else _file_name(wanted.name) + ".mp4").expanduser().absolute()
    script = record_movie(session, wanted, path, model, rotate, oscillate, size, seconds)
    session.logger.info(
        f"Movie of {html.escape(model_text(wanted))}: {html.escape(str(path))}. The commands that recorded it, to "
        f"change and to run again: {link(f'open {quoted(script)}')}",
        is_html=True,
    )
    return path


# Where it moves, and how far to believe it


def color(
    session: Any,
    maps: list[Any],
    by: str = "displacement",
    run: str | None = None,
    palette: Palette | None = None,
    range: tuple[float, float] | None = None,
    key: bool = True,
) -> Any:
    """Color a map by one of the maps that its run has left; returns that map, which is open and hidden."""
    end = "target" if by == "residual" else "initial"
    subject = subject_of(session, maps, end, _folder(run))
    return color_surface(session, subject, by, palette, range, key)


def arrows(
    session: Any,
    maps: list[Any],
    run: str | None = None,
    spacing: float = SPACING,
    color: Any = None,
    scale: float = 1.0,
) -> Any:
    """Draw arrows from where the density of the initial map starts to where it ends."""
    subject = subject_of(session, maps, "initial", _folder(run))
    start, end = read_motion(map_path(subject.run, "motion.npz"))
    tails, tips = arrows_of(start, end, spacing)
    place = place_of(grid_of(_map_path(subject.run, "initial")), subject.like)
    rgba = color.uint8x4() if color is not None else _ARROW_COLOR
    return draw_arrows(session, f"Motion of {subject.run.title()}", tails, tips, place, spacing, scale, rgba)


def _folder(run: str | None) -> Path | None:
    return Path(run).expanduser().resolve() if run is not None else None


# Runs


def stop(session: Any, run: str | None = None) -> list[CryoTransJob]:
    """Have running jobs save, end, and open what there is."""
    jobs = _active_jobs(session)
    if run is not None:
        folder = Path(run).expanduser().resolve()
        jobs = [job for job in jobs if str(job.id) == run or job.folder == folder]
        if not jobs:
            raise UserError(f"No job of CryoTRANS has the number or the folder {run}. cryotrans runs lists them.")
    elif not jobs:
        raise UserError("No job of CryoTRANS is running.")
    for job in jobs:
        job.stop()
        session.logger.info(f"CryoTRANS {job.name}: finishes what it is at, saves and ends.")
    return jobs


def runs(session: Any) -> list[Run]:
    """List the runs of this session and the recent ones of this user."""
    _active_jobs(session)
    found = known_runs(session)
    if found:
        session.logger.info(runs_table(found), is_html=True)
    else:
        session.logger.info(f"There are no runs yet. To try it: {link('cryotrans demo')}", is_html=True)
    return found


def _active_jobs(session: Any) -> list[CryoTransJob]:
    jobs = session.tasks.find_by_class(CryoTransJob)
    for job in jobs:
        job.process()
    return [job for job in jobs if not job.done]


# Beginning


def install(
    session: Any, python: str | None = None, directory: str | None = None, wait: bool | None = None
) -> Installation:
    """Take or make a Python that has PyTorch, and try it."""
    if python is not None and directory is not None:
        raise UserError("Give a python to use, or a directory to make one in, not both.")
    if any(not task.done for task in session.tasks.find_by_class(Installation)):
        raise UserError("An installation is running already.")
    task = Installation(
        session,
        Path(python).expanduser().absolute() if python is not None else None,
        Path(directory).expanduser() if directory is not None else None,
    )
    _run_task(session, task, wait)
    return task


def demo(session: Any, directory: str | None = None) -> list[Any]:
    """Make and open two maps of a made-up molecule, and say what to type next."""
    folder = Path(directory).expanduser().absolute() if directory is not None else _home() / "demo"
    pair = demo_pair.make_demo_pair()
    models = []
    for density_map, color in ((pair.initial, _INITIAL_COLOR), (pair.target, _TARGET_COLOR)):
        path = folder / density_map.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_map(path, density_map)
        except OSError as error:
            raise UserError(
                f"The folder {folder} cannot be written: {error.strerror}. "
                f"Give another: cryotrans demo directory FOLDER"
            ) from error
        [model] = run_command(session, f"open {quoted(path)}", log=False)
        style = f"volume #{model.id_string} style surface level {demo_pair.LEVEL} color {color}"
        run_command(session, style, log=False)
        models.append(model)
    initial, target = (f"#{model.id_string}" for model in models)
    train_link = link(f"cryotrans train {initial} to {target}")
    session.logger.info(
        f"The smaller domain of this made-up molecule turns by {demo_pair.HINGE_ANGLE:g} degrees from {initial} "
        f"({_INITIAL_COLOR}) to {target} ({_TARGET_COLOR}). Train the flow between them: {train_link}, some minutes "
        f"without a GPU. The trajectory opens by itself; play it with vseries play. Files are in "
        f"{html.escape(str(folder))}.",
        is_html=True,
    )
    return models


# What they share


def _run_task(session: Any, task: BackgroundTask, wait: bool | None) -> bool:
    """Start it; wait for it if so asked, or by default in scripts and without windows.  Returns whether it waited."""
    if wait is None:
        wait = bool(session.in_script) or not session.ui.is_gui
    if wait:
        task.wait()
    else:
        task.start()
    return wait


def _level(model: Any, level: float | None, keyword: str) -> float:
    """The level that was given, else the one shown.

    Raises:
        UserError: none is shown, or it keeps nothing.
    """
    if level is None:
        level = shown_level(model)
    check_level(model, level, keyword)
    assert level is not None
    return level


def _check_overlap(initial: Any, target: Any, target_map: DensityMap, level: float) -> None:
    if not (target_map.density >= level).any():
        raise UserError(
            f"Nothing of {model_text(target)} above level {level:.4g} lies in the box of {model_text(initial)}. Move "
            f"it there first, as with fitmap #{target.id_string} inMap #{initial.id_string}."
        )


def _home() -> Path:
    return Path.home() / "CryoTRANS"


def _stem(model: Any) -> str:
    """A map's name without what ends the names of files."""
    return re.sub(r"\.(mrc|map|ccp4|rec)(\.gz|\.bz2)?$", "", model.name, flags=re.IGNORECASE)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("._") or "map"


def _new_run_folder(session: Any, directory: str | None, name: str) -> Path:
    """The folder of a new run, made if it was not there.

    Raises:
        UserError: it holds a run, or cannot be made.
    """
    try:
        if directory is None:
            return free_folder(_home() / _file_name(name))
        folder = Path(directory).expanduser().resolve()
        known = runs_of(session).find(folder)
        if known is not None and known.is_active:
            raise UserError(f"Another run is being trained in {folder}. Give another directory.")
        RunDirectory(folder).check_free()
        if (folder / "maps").exists():
            raise UserError(f"{folder} holds a folder maps, which a run needs for itself. Give another directory.")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except InputError as error:
        if folder.is_dir():
            advice = f"Go on with it, cryotrans resume {quoted(folder)}, or give another directory."
            raise UserError(f"{folder} holds a run already. {advice}") from error
        raise UserError(f"{folder} is a file. Give another directory.") from error
    except OSError as error:
        raise UserError(f"{error.filename} cannot be made: {error.strerror}. Give another directory.") from error


def _new_frames_folder(directory: str | None, trained: Run | None, initial: Any) -> Path:
    """The folder of new frames, made if it was not there.

    Raises:
        UserError: it holds frames, or cannot be made.
    """
    try:
        if directory is None:
            if trained is not None:
                return free_folder(trained.folder / "frames")
            return free_folder(_home() / (_file_name(_stem(initial)) + "_frames"))
        folder = Path(directory).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be made: {error.strerror}. Give another directory.") from error
    if any(folder.glob("frame_*.mrc")) or (folder / "initial.mrc").exists():
        raise UserError(f"{folder} holds frames already, or a map named initial.mrc. Give another directory.")
    if (folder / FILE).exists() or (folder / "frame_atoms.npz").exists():
        raise UserError(f"{folder} holds atoms already, {FILE} or frame_atoms.npz. Give another directory.")
    return folder


def _run_in(session: Any, folder: str) -> Run:
    path = Path(folder).expanduser().resolve()
    return runs_of(session).find(path) or Run(path)


def _content(run: Run) -> dict[str, Any]:
    """What run.json says.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        content = run.content()
    except InputError as error:
        raise UserError(str(error)) from error
    if not content:
        raise UserError(f"{run.folder} holds no run that has begun. cryotrans runs lists the runs that are known.")
    return content


def _map_path(run: Run, key: str) -> Path:
    """The run's map as the worker gets it; a run of the programs has it elsewhere."""
    own = run.initial_path if key == "initial" else run.target_path
    return own if own.is_file() else Path(run.content()[key]["path"])


def _open_again(session: Any, run: Run, content: dict[str, Any], key: str) -> Any:
    """The open model that the run's map was, else the run's map, opened and hidden."""
    from chimerax.map import Volume

    path = _map_path(run, key)
    paths = {str(path), run.models().get(key, {}).get("path"), content[key]["path"]} - {None}
    for model in session.models.list(type=Volume):
        if source_of(model) in paths:
            return model
    if not path.is_file():
        raise UserError(f"The map {path} of this run is gone, so that it cannot be resumed. Start a new run.")
    [model] = run_command(session, f"open {quoted(path)}", log=False)
    model.name = run.models()[key]["name"]
    model.display = False
    return model


# Registration


class _Command(NamedTuple):
    function: Any
    description: dict[str, Any]


_TRAIN_KEYWORDS = [
    ("to", MapsInOrderArg),
    ("level", FloatArg),
    ("to_level", FloatArg),
    ("recipe", EnumOf(RECIPES)),
    ("steps", _COUNT),
    ("period", _COUNT),
    ("flow", EnumOf(FLOWS)),
    ("domains", _COUNT),
    ("symmetry", StringArg),
    ("blur", _NOT_NEGATIVE),
    ("hold_out", Bounded(FloatArg, min=0, max=0.5, inclusive=False)),
    ("validate", MapArg),
    ("loss", EnumOf(LOSSES)),
    ("learning_rate", _POSITIVE),
    ("depth", _COUNT),
    ("width", _COUNT),
    ("w2_eps", _POSITIVE),
    ("w2_iter", _COUNT),
    ("mu_mesh", _NOT_NEGATIVE),
    ("binning", _COUNT),
    ("weights", OpenFileNameArg),
    ("directory", SaveFolderNameArg),
    ("device", DeviceArg),
    ("seed", _SEED),
    ("frames", _FRAMES),
    ("open", BoolArg),
    ("wait", BoolArg),
]
_PREDICT_KEYWORDS = [
    ("run", OpenFolderNameArg),
    ("weights", OpenFileNameArg),
    ("checkpoint", Or(EnumOf(("best", "last")), Bounded(IntArg, min=0), name="best, last, or a number from 0")),
    ("level", FloatArg),
    ("frames", _FRAMES),
    ("times", FloatsArg),
    ("reverse", BoolArg),
    ("integrator", EnumOf(INTEGRATORS)),
    ("substeps", _COUNT),
    ("model", StructureToCarryArg),
    ("rigid", EnumOf(RIGID)),
    ("directory", SaveFolderNameArg),
    ("name", StringArg),
    ("device", DeviceArg),
    ("wait", BoolArg),
]
_MOVIE_KEYWORDS = [
    ("model", StructureArg),
    ("file", SaveFileNameArg),
    ("rotate", RotationArg),
    ("oscillate", BoolArg),
    ("size", _PIXELS),
    ("seconds", Bounded(FloatArg, min=0, max=600, inclusive=False)),
]
_COLOR_KEYWORDS = [
    ("by", EnumOf(tuple(MEASURES))),
    ("run", OpenFolderNameArg),
    ("palette", PaletteArg),
    ("range", TupleOf(FloatArg, 2)),
    ("key", BoolArg),
]
_ARROWS_KEYWORDS = [("run", OpenFolderNameArg), ("spacing", _POSITIVE), ("color", ColorArg), ("scale", _POSITIVE)]
_RESUME_KEYWORDS = [
    ("steps", _COUNT),
    ("frames", _FRAMES),
    ("device", DeviceArg),
    ("open", BoolArg),
    ("wait", BoolArg),
]

COMMANDS = {
    "cryotrans train": _Command(
        train,
        {
            "required": [("initial", MapArg)],
            "keyword": _TRAIN_KEYWORDS,
            "required_arguments": ["to"],
            "synopsis": "Learn the flow that carries one map onto another",
        },
    ),
    "cryotrans predict": _Command(
        predict,
        {
            "required": [("initial", MapArg)],
            "keyword": _PREDICT_KEYWORDS,
            "synopsis": "Open the trajectory of a trained flow as a volume series",
        },
    ),
    "cryotrans movie": _Command(
        movie,
        {
            "required": [("series", SeriesArg)],
            "keyword": _MOVIE_KEYWORDS,
            "synopsis": "Record a volume series as a movie",
        },
    ),
    "cryotrans color": _Command(
        color,
        {
            "required": [("maps", MapsArg)],
            "keyword": _COLOR_KEYWORDS,
            "synopsis": "Color a map by where it moves and how far to believe it",
        },
    ),
    "cryotrans arrows": _Command(
        arrows,
        {
            "required": [("maps", MapsArg)],
            "keyword": _ARROWS_KEYWORDS,
            "synopsis": "Draw arrows from where density starts to where it ends",
        },
    ),
    "cryotrans stop": _Command(
        stop, {"optional": [("run", StringArg)], "synopsis": "Save and end training, and open what there is"}
    ),
    "cryotrans resume": _Command(
        resume,
        {
            "required": [("folder", OpenFolderNameArg)],
            "keyword": _RESUME_KEYWORDS,
            "synopsis": "Go on with training from its last checkpoint",
        },
    ),
    "cryotrans runs": _Command(runs, {"synopsis": "List training runs"}),
    "cryotrans install": _Command(
        install,
        {
            "keyword": [("python", OpenFileNameArg), ("directory", SaveFolderNameArg), ("wait", BoolArg)],
            "synopsis": "Take or make a Python that has PyTorch",
        },
    ),
    "cryotrans demo": _Command(
        demo, {"keyword": [("directory", SaveFolderNameArg)], "synopsis": "Open two maps to try CryoTRANS on"}
    ),
}


def register_command(name: str, logger: Any) -> None:
    """Register one command with ChimeraX."""
    command = COMMANDS[name]
    register(name, CmdDesc(**command.description), command.function, logger=logger)
