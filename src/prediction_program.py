"""cryotrans-predict, from its options to the files of the frames."""

from __future__ import annotations

import argparse
from pathlib import Path

from .engine.density_map import DensityMap, grid_text, read_map, write_map
from .engine.errors import InputError
from .engine.preparation import above_level
from .engine.run_directory import RunDirectory
from .progress import Reporter
from .provenance import describe_grid
from .stop_request import StopRequest

_MOST_FRAMES = 10_000


def predict_to_files(options: argparse.Namespace, command: list[str], reporter: Reporter, stop: StopRequest) -> None:
    """Write the frames of a trajectory; arguments as in training_program.

    Raises:
        InputError: whatever the user can mend.
    """
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
    from .engine.device import choose_device
    from .engine.prediction import predict

    velocity = load_weights(Path(options.weight), options.depth, options.width)
    _warn_of_another_grid(Path(options.weight), density_map, reporter)
    device, why = choose_device(options.device, options.gpu)
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
    now = describe_grid(density_map)
    if grid != (now["grid_shape"], now["voxel_size"]):
        reporter.warning(
            f"{weights.name} was trained on {name}, another grid than that of {density_map.name} "
            f"({grid_text(density_map)}): the flow is scaled to the box and may not fit."
        )
