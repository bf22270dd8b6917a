"""What the panel shows and which commands it builds; without widgets, which window.py makes of it.

The panel does nothing of its own: each of its buttons is a command, which stands in the Log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chimerax.atomic import AtomicStructure
from chimerax.map import Volume
from chimerax.map_series import MapSeries

from ...engine.options.option import Option
from ...engine.options.training import TRAINING
from ...engine.outlook import outlook_of
from ..markup import quoted
from ..next_steps import next_steps
from ..volumes import shown_level
from ..wording import in_keywords

_FLAG = re.compile(r"(?<!\w)--?[A-Za-z]\w*(?:-\w+)*")  # of the programs, in a text of help
_OTHERWISE = ("level", "toLevel")  # as shown in the window, which is where people set them
_HELP_OF_OTHERS = {
    "validate": "another map of the target's state to judge by",
    "frames": "of the trajectory",
}
PICTURE = 52  # pixels


def open_maps(session: Any) -> list[Volume]:
    """Those that a training can start from or lead to: of a series the frame that is shown, and no hidden values."""
    volumes = session.models.list(type=Volume)
    frames = [volume for volume in volumes if isinstance(volume.parent, MapSeries)]
    return [
        *(volume for volume in volumes if volume not in frames and volume.id is not None),
        *(frame for frame in frames if frame.display and frame.parent.display),
    ]


def chosen_pair(maps: list[Volume], initial: Any, target: Any) -> tuple[Any, Any]:
    """The pair to show: what was chosen as long as it is open, else the first two maps, displayed ones before others.

    Frames of a trajectory come last: who wants to train on one chooses it.
    """
    whole = [volume for volume in maps if not isinstance(volume.parent, MapSeries)]
    displayed = [*(volume for volume in whole if volume.display), *(volume for volume in whole if not volume.display)]
    displayed += [volume for volume in maps if volume not in whole]
    if initial not in maps:
        initial = next((volume for volume in displayed if volume is not target), None)
    if target not in maps or target is initial:
        others = [volume for volume in (*displayed, *maps) if volume is not initial]
        target = others[0] if others else None
    return initial, target


def map_text(volume: Volume) -> str:
    """A map in a menu: number, name, grid and the level shown."""
    size = "×".join(str(n) for n in volume.data.size)
    step = "×".join(f"{s:.3g}" for s in dict.fromkeys(round(float(s), 4) for s in volume.data.step))
    level = shown_level(volume)
    at = f"level {level:.4g}" if level is not None else "no surface"
    return f"#{volume.id_string} {volume.name}  –  {size}, {step} Å, {at}"


def picture_of(volume: Volume) -> np.ndarray:
    """The map in small as it is displayed, seen along z: (h, w, 4) uint8, in its colour, no more than the molecule."""
    matrix = volume.full_matrix()
    step = max(1, max(matrix.shape) // (2 * PICTURE))
    density = np.asarray(matrix[::step, ::step, ::step], np.float32)
    level = shown_level(volume)
    level = float(np.quantile(density, 0.99)) if level is None else level
    depth = (density >= level).sum(axis=0, dtype=np.float32)[::-1]  # y goes up
    if not depth.any():
        return np.zeros((1, 1, 4), np.uint8)
    depth = depth[np.ix_(*(_extent(depth.any(axis=1 - axis)) for axis in (0, 1)))]
    picture = np.zeros((*depth.shape, 4), np.uint8)
    color = np.array(_color_of(volume)[:3], np.float32)
    picture[:, :, :3] = color * (0.45 + 0.55 * (depth / depth.max())[:, :, None])
    picture[:, :, 3] = np.where(depth > 0, 255, 0)
    return picture


def _extent(occupied: np.ndarray) -> np.ndarray:
    """Indices from the first True to the last."""
    [there] = occupied.nonzero()
    return np.arange(there[0], there[-1] + 1)


def _color_of(volume: Volume) -> tuple[float, ...]:
    surfaces = list(volume.surfaces)
    rgba = surfaces[0].rgba if surfaces else volume.default_rgba
    return tuple(255 * float(part) for part in rgba)


def outlook_text(initial: Any, target: Any, options: Mapping[str, str]) -> str:
    """What Train will do, how long it takes and how much memory, in a sentence or two."""
    if initial is None or target is None:
        return "Open two maps of one molecule, fitted to each other. To try it: cryotrans demo"
    if (level := shown_level(initial)) is None or shown_level(target) is None:
        return "Show both maps as surfaces, at the level of the molecule: it says what is to move."
    matrix = initial.full_matrix()
    n_points, n_voxels = int(np.count_nonzero(matrix >= level)), matrix.size
    if n_points == 0:
        return f"Nothing of #{initial.id_string} lies above its level. Lower it."
    volume = n_points * abs(float(initial.data.voxel_volume()))
    outlook = outlook_of(n_points, n_voxels, volume)
    by_hand = options.get("recipe") == "cryotrans" or any(
        about.by_hand and about.typed_keyword in options for about in TRAINING.values()
    )
    what = "The published settings" if by_hand else "Recipe auto: domains are docked, then refined"
    return (
        f"{what}; {n_points:,} points. {outlook.time_text(by_hand)} on a CPU, less on a GPU, and about "
        f"{outlook.memory_text()} of memory."
    )


class Field(NamedTuple):
    """One option of the form.

    Attributes:
        keyword: as it is typed.
        label: what people read.
        choices: the words it takes; () for a text.
        help: what it is.
    """

    keyword: str
    label: str
    choices: tuple[str, ...]
    help: str


def fields() -> list[Field]:
    """The options that can be set before Train, those first that users most often want."""
    first = ["recipe", "flow", "domains", "symmetry", "device", "mask", "toMask", "halfMaps", "frames", "directory"]
    found = {
        about.typed_keyword: _field(about)
        for about in TRAINING.values()
        if about.typed_keyword not in (None, *_OTHERWISE)
    }
    found |= {keyword: Field(keyword, keyword, (), text) for keyword, text in _HELP_OF_OTHERS.items()}
    ordered = [keyword for keyword in first if keyword in found]
    return [found[keyword] for keyword in (*ordered, *(key for key in found if key not in first))]


def _field(about: Option) -> Field:
    keyword = about.typed_keyword
    assert keyword is not None
    choices = ("true", "false") if about.kind is bool else about.choices
    return Field(keyword, about.spoken or keyword, choices, _FLAG.sub(_keyword_of, about.help))


def _keyword_of(flag: re.Match[str]) -> str:
    """What is typed in a command for a flag of the programs."""
    options = [about for about in TRAINING.values() if flag[0] in about.flags]
    return options[0].typed_keyword or flag[0] if options else flag[0]


def train_command(initial: Volume, target: Volume, options: Mapping[str, str]) -> str:
    """What Train types."""
    words = [f"cryotrans train #{initial.id_string} to #{target.id_string}"]
    words += [f"{keyword} {_value(keyword, text)}" for keyword, text in options.items() if text.strip()]
    return " ".join(words)


def _value(keyword: str, text: str) -> str:
    text = text.strip()
    return quoted(text) if keyword in ("directory", "weights") and text[:1] not in "\"'" else text


class Button(NamedTuple):
    """A command on a button."""

    text: str
    command: str
    help: str


def buttons_after(job: Any) -> list[Button]:
    """What can be done with the trajectory of a job that has ended."""
    series = job.series
    if series is None or series.deleted:
        return []
    name = f"#{series.id_string}"
    found = [
        Button("Play", f"vseries play {name} loop true direction oscillate", "Play it forth and back"),
        Button("Halt", f"vseries stop {name}", "Stop playing"),
        Button("Slider", f"vseries slider {name}", "Go through the frames by hand"),
        Button("Movie", f"cryotrans movie {name} oscillate true", "Record it as a film"),
    ]
    folder = job.folder
    for file, text, by in (
        ("displacement.mrc", "Color by motion", "displacement"),
        ("confidence.mrc", "Color by confidence", "confidence"),
        ("strain.mrc", "Color by strain", "strain"),
        ("residual.mrc", "Color by what is left", "residual"),
    ):
        if (folder / file).is_file():
            found.append(Button(text, f"cryotrans color {name} by {by}", f"{file} of the run on the surface"))
    if (folder / "domains.json").is_file():
        found.append(Button("Domains", f"cryotrans domains {name}", "The parts that move as rigid bodies"))
    if (folder / "motion.npz").is_file():
        found.append(Button("Arrows", f"cryotrans arrows {name}", "From where density starts to where it ends"))
    if (folder / "report.html").is_file():
        found.append(Button("Report", f"open {quoted(folder / 'report.html')}", "All of it on one page"))
    return found


def buttons_next(job: Any, advice: Iterable[str]) -> list[Button]:
    """What the advice of a verdict says to try."""
    return [Button(step.text, step.command, "Try next") for step in next_steps(job.run_of_it, advice)]


def frames_command(series: Any, folder: Path) -> str:
    """Save an image of each frame into a folder."""
    name, digits = f"#{series.id_string}", len(str(len(series.maps) - 1))
    return " ; ".join(
        f"vseries play {name} jumpTo {time} ; save {quoted(folder / f'frame_{time:0{digits}d}.png')} supersample 3"
        for time, frame in enumerate(series.maps)
        if frame is not None
    )


def carry_command(initial: Volume, folder: Path, model: Any) -> str:
    """Make the trajectory again with an atomic model on it."""
    return f"cryotrans predict #{initial.id_string} run {quoted(folder)} model #{model.id_string}"


def structures_to_carry(session: Any) -> dict[str, Any]:
    """Atomic models that stand still, by what a menu calls them."""
    return {
        f"#{structure.id_string} {structure.name}": structure
        for structure in session.models.list(type=AtomicStructure)
        if structure.num_coordsets <= 1
    }


def said_of(verdict: Mapping[str, Any] | None) -> tuple[str, list[str], list[str]]:
    """The word, the reasons and what to do next, as the worker gave them."""
    if not verdict or not verdict.get("word"):
        return "", [], []
    return str(verdict["word"]), _texts(verdict.get("reasons")), _texts(verdict.get("advice"))


def _texts(values: Iterable[Any] | None) -> list[str]:
    return [in_keywords(str(value)) for value in values or ()]
