"""cryotrans-predict, from its options to the files of the frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.errors import InputError, named
from ..engine.files.run_directory import RUN_FILE, RunDirectory
from ..engine.files.writing import remove
from ..engine.maps.density_map import PLACE_TOLERANCE, DensityMap, grid_text
from ..engine.maps.grids import on_grid_of
from ..engine.maps.mrc_file import read_map, write_map
from ..engine.maps.own_mask import mask_on_grid, masked
from ..engine.maps.preparation import above_level
from ..engine.options.choices import N_EULER_STEPS
from ..engine.options.prediction import PredictionOptions
from .carried_atoms import SUFFIXES, CarriedAtoms
from .pair import mask_of_run, read_mask
from .progress import Reporter
from .provenance import describe_grid
from .room import check_room_for_prediction
from .stop_request import StopRequest

if TYPE_CHECKING:
    from ..engine.carrying.prediction import Frame

_MOST_TIMES_FINER = 64  # times as many voxels as the map that is put on the grid


def predict_to_files(said: dict[str, Any], command: list[str], reporter: Reporter, stop: StopRequest) -> None:
    """Write the frames of a trajectory; arguments as in training.py.

    Raises:
        InputError: whatever the user can mend.
    """
    options = PredictionOptions(**said)
    flow = _flow(options)
    weights = flow[-1]
    trained = _training_of(weights if options.run is None else Path(options.run, RUN_FILE))
    n_frames = options.frames or 10 * len(flow) + 1
    density_map = read_map(options.initial_map)
    if options.inverse:
        density_map = _on_the_grid_of_the_training(density_map, trained, reporter)
    for note in density_map.notes:
        reporter.warning(note)
    above_level(density_map, options.initial_level)
    key = "target" if options.inverse else "initial"
    if key in trained.get("masks", ()):
        density_map = _in_the_mask_of_the_training(
            density_map,
            RunDirectory(weights.parent),
            key,
            reporter,
            _level_of_the_training(options, density_map, trained),
        )
    elif (options.conditioning or trained.get("options", {}).get("conditioning")) == "auto":
        from ..engine.maps.conditioning import molecule_of

        density_map, said_of_it = molecule_of(density_map, _level_of_the_training(options, density_map, trained))
        for sentence in said_of_it:
            reporter.note(sentence)
    if Path(options.prefix).name != options.prefix:
        raise InputError(
            f"The prefix {options.prefix!r} ({named('prefix')}) must be the beginning of a file name, without a folder."
        )
    directory = Path(options.directory)
    earlier = _earlier_files(directory, options)
    atoms = CarriedAtoms.read(options, reporter)
    if atoms is not None:
        atoms.look_for_density(density_map, _level_of_the_training(options, density_map, trained), reporter)
    from ..engine.carrying.prediction import carry, carry_back, even_times, predict
    from ..engine.carrying.still_part import StillPart
    from ..engine.device import choose_device
    from ..engine.flow.checkpoint import load_weights

    mask = None
    if options.relative_to is not None:
        given = read_mask(options.relative_to, density_map, "relative_to")
        mask, _ = mask_on_grid(given, density_map, "relative_to")
    fields = [load_weights(path, options.depth, options.width) for path in flow]
    _tell_of_the_legs(len(flow), n_frames, trained, options, reporter)
    _warn_of_another_grid(weights, trained, density_map, reporter)
    if "," in options.device:
        raise InputError(
            f"A prediction is computed by one device, not by {options.device}. Name one ({named('device')})."
        )
    device, why = choose_device(options.device, options.gpu)
    reporter.note(why)
    times = even_times(n_frames) if options.times is None else options.times
    n_places = 0 if atoms is None else atoms.n_atoms * len(times)
    check_room_for_prediction(density_map, options.initial_level, n_places, device, reporter)
    how: dict[str, Any] = {"n_steps": N_EULER_STEPS * options.substeps, "integrator": options.integrator}
    if mask is not None:
        how["still"] = StillPart(density_map, options.initial_level, mask.density, mask.name, device)
    direction: dict[str, Any] = {"reverse": options.reverse, "inverse": options.inverse}
    frames = predict(density_map, fields, device, options.initial_level, times, **direction, **how)
    if atoms is not None:

        def way(
            positions: NDArray[np.float64], times: Sequence[float]
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            if options.inverse:
                return carry_back(positions, density_map, fields, times, device=device, **how)
            return carry(positions, density_map, fields, times, device=device, **how), np.zeros(len(positions))

        atoms.carry(way, times)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The directory {directory} cannot be written: {error.strerror}. Choose another one ({named('directory')})."
        ) from error
    reporter.start(directory=str(directory.absolute()), device=str(device), n_frames=len(times))
    digits = max(2, len(str(len(times) - 1)))
    names: list[str] = []
    facts: dict[str, Any] = {}
    outside = 0.0
    end: Path | None = None  # the frame at t = 1
    with _Writer(directory, reporter) as writer:  # a frame is written while the next one is computed
        for frame in frames:
            if stop:
                break
            if not names:  # memory has sufficed for one frame, so it will for all
                for path in earlier:
                    remove(path)
                if options.inverse:
                    facts["residual"] = frame.residual
                    _tell_of_the_inverse(frame.residual, frame.mass_unsolved, reporter)
                if atoms is not None:
                    facts["atoms"] = atoms.write(directory, options.prefix, options.reverse, reporter)
            name = f"{options.prefix}_{frame.number:0{digits}d}.mrc"
            writer.write(name, frame)
            names.append(name)
            end = directory / name if frame.time == 1 else end
            outside = max(outside, frame.mass_outside)
            del frame  # the next one is made before this name is taken again
    if mask is not None and names:
        reporter.note(how["still"].text(Path(str(options.relative_to)).name))
    if outside > 0:
        reporter.warning(f"Up to {outside:.2%} of the mass leaves the box on the way and is missing in the frames.")
    if end is not None and not (stop or options.inverse or options.no_report or mask) and len(flow) == 1:
        with reporter.doing_without("The report"):
            from .report.report import report_of_prediction

            model = None if atoms is None else atoms.model
            told = report_of_prediction(directory, weights, density_map, options.initial_map, end, model)
            if told is not None:
                reporter.note(told)
    state = "stopped" if stop else "finished"
    names.sort()
    text = f"{len(names)} frames, {names[0]} to {names[-1]}, are in {directory}." if names else "No frame was written."
    reporter.end(state, text, directory=str(directory.absolute()), files=names, mass_outside=outside, **facts)


class _Writer:
    """Writes frames one after another, each while the caller goes on; says which are there."""

    def __init__(self, directory: Path, reporter: Reporter) -> None:
        self._directory, self._reporter = directory, reporter
        self._thread = ThreadPoolExecutor(1)
        self._waiting: tuple[Future[None], Callable[[], None]] | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._thread.shutdown()

    def write(self, name: str, frame: Frame) -> None:
        """Begin, once the frame before is there: no more than two are held."""
        self._finish()
        path, number, time = self._directory / name, frame.number, frame.time
        said = partial(self._reporter.frame, str(path.absolute()), number, time)
        self._waiting = self._thread.submit(write_map, path, frame.density_map, durable=False), said

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            written, said = waiting
            written.result()
            said()


def _flow(options: PredictionOptions) -> list[Path]:
    """The weight file that was named, or that of a run's checkpoint, one for each of its legs."""
    if options.weight is not None and options.run is None:
        if options.checkpoint is not None:
            raise InputError(
                f"{named('checkpoint')} belongs to {named('run')}: give the directory of the training instead of "
                f"{named('weight')}."
            )
        return [Path(options.weight)]
    if options.run is None or options.weight is not None:
        raise InputError(
            f"Name the flow: either a file of weights ({named('weight')}), or the directory of a training "
            f"({named('run')})."
        )
    return RunDirectory(Path(options.run)).flow(options.checkpoint or "best")


def _tell_of_the_legs(
    n_legs: int, n_frames: int, trained: dict[str, Any], options: PredictionOptions, reporter: Reporter
) -> None:
    """What the frames will not show."""
    n_wanted = len(trained.get("legs", ())) or n_legs
    if n_legs < n_wanted and options.inverse:
        raise InputError(
            f"Only {n_legs} of the {n_wanted} legs have been trained so far, and {named('inverse')} begins at the "
            f"end of the "
            f"last. Finish the training first: cryotrans-train {named('resume')} {named('directory')} {options.run}"
        )
    if n_legs < n_wanted:
        reporter.warning(f"Only {n_legs} of the {n_wanted} legs have been trained so far; the frames end there.")
    if options.times is None and (n_frames - 1) % n_legs:
        more = (n_frames - 1) // n_legs * n_legs + n_legs + 1
        reporter.note(f"The conformations on the way fall between frames; {more} frames show each of them.")


def _earlier_files(directory: Path, options: PredictionOptions) -> list[Path]:
    """What an earlier prediction of this prefix left in the directory, which overwriting is to remove.

    Raises:
        InputError: there is something and that was not said, or it would remove what is to be read.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; wanted is a directory. Choose another name ({named('directory')}).")
    start = options.prefix + "_"
    frames = [
        path
        for path in sorted(directory.glob("*.mrc"))
        if path.stem.startswith(start) and path.stem[len(start) :].isdigit()
    ]
    others = [path for suffix in SUFFIXES if (path := directory / f"{options.prefix}{suffix}").exists()]
    if (frames or others) and not options.overwrite:
        there = f"{len(frames)} frames named {options.prefix}_….mrc" if frames else others[0].name
        raise InputError(
            f"{directory} already holds {there}. Use {named('overwrite')} to "
            f"replace them, another prefix ({named('prefix')}) or another directory ({named('directory')})."
        )
    inputs = {"the map to carry": options.initial_map, "the atoms to carry": options.model or options.atoms}
    inputs["the part to stay"] = options.relative_to
    for what, given in inputs.items():
        if given and Path(given).exists() and any(path.samefile(given) for path in [*frames, *others]):
            raise InputError(
                f"{named('overwrite')} would remove {given}, {what}. Choose another prefix ({named('prefix')}) or "
                f"another "
                f"directory ({named('directory')})."
            )
    return [*frames, *others]


def _training_of(weights: Path) -> dict[str, Any]:
    """What the run.json beside the weights says, {} if there is none."""
    try:
        return RunDirectory(weights.parent).read()
    except InputError:
        return {}


def _on_the_grid_of_the_training(density_map: DensityMap, trained: dict[str, Any], reporter: Reporter) -> DensityMap:
    """The target as the training saw it: put on the grid of the initial map where it lies on another."""
    try:
        grid = trained["initial"]
        if math.prod(grid["grid_shape"]) > _MOST_TIMES_FINER * density_map.density.size:
            raise InputError(
                f"The run says that its maps have {' x '.join(map(str, grid['grid_shape'][::-1]))} voxels, far more "
                f"than {density_map.name}: is it of another map, or was its {RUN_FILE} edited? Resample the map first."
            )
        empty = np.zeros(grid["grid_shape"], np.float32)
        place, size = tuple(grid["origin"]), tuple(grid["voxel_size"])
        onto = DensityMap(empty, size, header_origin=place, name=grid["name"])
    except KeyError:  # of an earlier version
        return density_map
    density_map, resampled = on_grid_of(density_map, onto)
    if resampled:
        reporter.note(resampled)
    return density_map


def _in_the_mask_of_the_training(
    density_map: DensityMap, run: RunDirectory, key: str, reporter: Reporter, level: float
) -> DensityMap:
    """The map times the mask that its training had."""
    mask, _ = mask_on_grid(read_map(mask_of_run(run, key)), density_map, f"{key}_mask")
    density_map, text = masked(density_map, mask, level, f"{key}_mask")
    reporter.note(text)
    return density_map


def _level_of_the_training(options: PredictionOptions, density_map: DensityMap, trained: dict[str, Any]) -> float:
    """The level that training had for the map if it is the same by name, else the one of the prediction."""
    try:
        side = trained["target" if options.inverse else "initial"]
        if side["name"] == density_map.name:
            return float(side["level"])
    except (KeyError, TypeError, ValueError):
        pass
    return float(options.initial_level)


def _tell_of_the_inverse(residual: float, unsolved: float, reporter: Reporter) -> None:
    from ..engine.carrying.prediction import CLOSE_ENOUGH

    if unsolved > 0:
        reporter.warning(
            f"For {unsolved:.2%} of the mass no place was found that the flow brings to within {CLOSE_ENOUGH:g} Å of "
            f"it; the largest distance left is {residual:.3g} Å. The flow folds there, or nothing arrives: do not "
            f"trust the frames there."
        )
    else:
        reporter.note(f"The flow from where the inverse ends leads back to within {residual:.2g} Å.")


def _warn_of_another_grid(weights: Path, trained: dict[str, Any], density_map: DensityMap, reporter: Reporter) -> None:
    """A flow is in units of the box it was trained in: on another box it does something else."""
    try:
        initial = trained["initial"]
        name, grid = initial["name"], (initial["grid_shape"], initial["voxel_size"])
        away = float(np.linalg.norm(np.subtract(initial["origin"], density_map.origin)))  # Å
    except (KeyError, TypeError, ValueError):
        return
    now = describe_grid(density_map)
    if grid != (now["grid_shape"], now["voxel_size"]):
        reporter.warning(
            f"{weights.name} was trained on {name}, another grid than that of {density_map.name} "
            f"({grid_text(density_map)}): the flow is scaled to the box and may not fit."
        )
    elif away > PLACE_TOLERANCE * max(density_map.voxel_size):
        reporter.warning(
            f"{density_map.name} lies {away:.3g} Å from where {name} lay when {weights.name} was trained, by their "
            f"headers. The flow belongs to the box: the motion is the same only if the molecule lies in the box as it "
            f"did."
        )
