"""report.html: one file that says what a run did and whether its morph can be believed.

Everything is in the file, so that it can be mailed and opens anywhere: charts as SVG, pictures as PNG.  Charts are
drawn by matplotlib in colours that stand for others, which the page's style sheet then gives, in light or in dark.
Whatever comes from outside, such as file names, is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine.density_map import DensityMap, assume_grid_of, read_map, resample, same_grid
from .engine.errors import InputError
from .engine.metrics import FSC_FILE, METRICS_FILE, Measures, read_fsc, read_metrics
from .engine.preparation import above_level
from .engine.run_directory import FINAL_WEIGHTS, LOSS_FILE, RunDirectory, write_atomically
from .engine.verdict import Verdict, best_checkpoint, judge
from .provenance import digest, now

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT_FILE = "report.html"
NO_MATPLOTLIB = (
    "No report is written: it needs matplotlib. Install it into the Python at work (pip install matplotlib)."
)
_GENERATOR = '<meta name="generator" content="CryoTRANS">'

_INK, _FAINT, _FIRST, _SECOND, _MARK = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_STYLE_OF = {_INK: "--ink", _FAINT: "--faint", _FIRST: "--first", _SECOND: "--second", _MARK: "--mark"}
_CHART = (4.7, 2.7)  # inches of 72 pixels
_MOST_VERTICES = 800  # of a line in a chart
_LARGEST_PICTURE = 128  # pixels
_MARGIN = 3  # voxels round the molecule in a picture
_FEW = 40  # checkpoints whose dots can be told apart


class Motion(NamedTuple):
    """What `Judge` and its judgement say of each point."""

    weights: NDArray[np.float32]  # (n,)
    displacement: NDArray[np.float64]  # (n, 3), Å
    volume_change: NDArray[np.float64]  # (n,)


class _Run(NamedTuple):
    """What the files of a run say, and what follows from them."""

    content: dict[str, Any]
    rows: list[Measures]
    shown: int  # index of the checkpoint that is shown
    verdict: Verdict
    frequencies: NDArray[np.float64]
    curves: dict[int, NDArray[np.float64]]
    losses: list[float]

    @property
    def row(self) -> Measures:
        return self.rows[self.shown]

    @property
    def stages(self) -> list[tuple[int, str]]:
        """First step and name of each stage, as recipe auto notes them."""
        matches = (re.match(r"Step (\d+): (.+?)(, \d+ points)?\.$", note) for note in self.texts("notes"))
        return [(int(match[1]), match[2]) for match in matches if match]

    def texts(self, key: str) -> list[str]:
        return [str(text) for text in self.content.get(key) or []]


def write_report(
    path: Path,
    run: RunDirectory,
    initial: DensityMap,
    target: DensityMap,
    generated: NDArray[np.float32],
    step: int | None = None,
    motion: Motion | None = None,
) -> str:
    """Write the report of a run, in the place of an earlier one.

    Read from the run's directory are run.json (of which `notes` and `warnings`, lists of sentences, may be missing),
    metrics.csv, fsc.csv and loss.log.

    Args:
        path: report.html.
        run: where it lies.
        initial, target: on one grid, as training had them.
        generated: (nz, ny, nx), the initial map carried to t = 1.
        step: of the checkpoint that `generated` is of; the best one by default.
        motion: of the same, for the histograms.
    Returns:
        A sentence for the user: where the report is, or why there is none.
    Raises:
        OSError: it cannot be written.
    """
    try:
        import matplotlib  # noqa: F401 - an extra; who lacks it shall lack no more than the report
    except ImportError:
        return NO_MATPLOTLIB
    if path.exists() and not _is_report(path):
        return f"No report is written: {path} is a file of another kind. Move it away."
    try:
        told = _read_run(run, initial, step)
        levels = [float(told.content["options"][f"{key}_level"]) for key in ("initial", "target")]
    except (InputError, KeyError, TypeError, ValueError) as error:
        return f"No report is written: the files of the run in {run.path} do not say enough ({error})."
    blur = _blur(told.content["options"].get("blur"), initial, target)
    kept = [above_level(density_map, level) for density_map, level in zip((initial, target), levels)]
    sections = [
        _verdict_section(told),
        _figures_section(told),
        _pictures_section(kept[0], kept[1], generated, blur, initial.voxel_size),
        _training_section(told),
        _motion_section(told, motion),
        _list_section("Warnings", told.texts("warnings")),
        _run_section(told, blur),
    ]
    write_atomically(path, _page(_title(told.content), sections).encode())
    return f"Verdict: {told.verdict.word}. {told.verdict.reasons[0]} The report is {path}."


def report_of_prediction(directory: Path, weights: Path, initial: DensityMap, path: str, end: Path) -> str | None:
    """The same beside the frames of a prediction, where the weights lie in a run and the map is the run's initial map.

    Args:
        directory: of the frames.
        weights: the weight file.
        initial, path: the map that was carried, and its file.
        end: the frame at t = 1.
    Returns:
        A sentence for the user; None where there is nothing to report on.
    Raises:
        OSError: it cannot be written.
    """
    run = RunDirectory(weights.parent)
    if not (run / METRICS_FILE).is_file() or directory.samefile(run.path):
        return None
    try:
        content = run.read()
        described = content["target"]
        if content["initial"]["sha256"] != digest(path):
            return None
        if not Path(described["path"]).is_file() or described["sha256"] != digest(described["path"]):
            return f"No report is written: the target of the run is not in {described['path']} any more."
        names = {name: int(step) for step, name in content.get("checkpoints", {}).items()}
        target = read_map(described["path"])
        initial, target = assume_grid_of(initial, target), assume_grid_of(target, initial)
        if not same_grid(initial, target):
            target = resample(target, initial)
        step = content["step"] if weights.name == FINAL_WEIGHTS else names.get(weights.name)
        return write_report(directory / REPORT_FILE, run, initial, target, read_map(end).density, step)
    except (InputError, KeyError, TypeError, AttributeError, ValueError) as error:
        return f"No report is written: the files of the run in {run.path} do not say enough ({error})."


def _is_report(path: Path) -> bool:
    with open(path, "rb") as file:
        return _GENERATOR.encode() in file.read(1000)


def _read_run(run: RunDirectory, initial: DensityMap, step: int | None) -> _Run:
    content, rows = run.read(), read_metrics(run / METRICS_FILE)
    if not rows:
        raise InputError(f"{METRICS_FILE} is empty")
    frequencies, curves = read_fsc(run / FSC_FILE)
    losses = [float(line) for line in (run / LOSS_FILE).read_text(encoding="utf-8").split()]
    steps = [row.step for row in rows]
    shown = steps.index(step) if step in steps else best_checkpoint(rows)
    return _Run(content, rows, shown, judge(rows, shown, initial.voxel_size), frequencies, dict(curves), losses)


def _blur(chosen: float | None, initial: DensityMap, target: DensityMap) -> float:
    from .engine.relative_blur import estimate_blur

    if chosen is not None:
        return float(chosen)
    return estimate_blur(initial.density, target.density, initial.voxel_size)


# The sections, each HTML


def _verdict_section(told: _Run) -> str:
    word, reasons = told.verdict
    said = {
        "good": "Nothing that was measured speaks against this morph.",
        "doubtful": "This morph may be right, but look closely: something speaks against it.",
        "poor": "Do not believe this morph.",
    }[word]
    items = "".join(f"<li>{_escaped(reason)}</li>" for reason in reasons)
    return (
        f'<section class="verdict {word}"><p class="word"><span>{word.capitalize()}</span> {said}</p><ul>{items}</ul>'
        f'<p class="caveat">The path between the two maps is an interpolation, not physics: it is not a simulation, '
        f"has no energy and no time, and other paths may lead from one map to the other as well.</p></section>"
    )


def _figures_section(told: _Run) -> str:
    first, row, last = told.rows[0], told.row, told.rows[-1]
    columns = [(f"Step {first.step}", first), (f"Step {row.step}, shown here", row)]
    if last is not row:
        columns.append((f"Step {last.step}, the last", last))
    lines: list[tuple[str, str, Callable[[Measures], str]]] = [
        ("Correlation", "of generated map and target, at the target's resolution", lambda r: f"{r.correlation:.3f}"),
        ("Resolution", "to which they agree, FSC = 0.5", lambda r: f"{r.resolution:.2f} Å"),
        ("Distance left", "the way that mass has yet to go, rms", lambda r: f"{r.transport_distance:.2f} Å"),
        ("Strain", "change of shape of small pieces, rms; 0 is rigid", lambda r: f"{r.strain:.3f}"),
        (
            "Volume change",
            "98 % of the mass lie between; 1 is none",
            lambda r: f"{r.volume_change_low:.2f} to {r.volume_change_high:.2f}",
        ),
        ("Folded", "mass where space is turned inside out", lambda r: f"{r.folded:.2%}"),
        ("Mass outside", "that has left the box", lambda r: f"{r.mass_outside:.2%}"),
        ("Held-out correlation", "on voxels that training did not see", lambda r: f"{r.held_out:.3f}"),
        ("Validation", "resolution against another map, FSC = 0.5", lambda r: f"{r.validation:.2f} Å"),
    ]
    rows = []
    for name, meaning, text in lines:
        cells = [text(measures) for _, measures in columns]
        if any("nan" not in cell for cell in cells):
            shown = "".join(f"<td>{'–' if 'nan' in cell else cell}</td>" for cell in cells)
            rows.append(f'<tr><th scope="row">{name}<small>{meaning}</small></th>{shown}</tr>')
    head = "".join(f'<th scope="col">{title}</th>' for title, _ in columns)
    return _section("Measures", f'<table class="measures"><tr><td></td>{head}</tr>{"".join(rows)}</table>')


def _pictures_section(
    initial: np.ndarray,
    target: np.ndarray,
    generated: np.ndarray,
    blur: float,
    voxel_size: tuple[float, float, float],
) -> str:
    """Slices and projections along the three axes: the maps, and the target less what is carried, before and after."""
    from .engine.motion_maps import residual

    voxels = blur / float(np.prod(voxel_size)) ** (1 / 3)
    before, after = residual(initial, target, voxels), residual(generated, target, voxels)
    occupied = (initial > 0) | (target > 0) | (generated > _FAINTEST_SHOWN * generated.max())
    box = _bounding_box(occupied)
    densities = [density[box] for density in (initial, target, generated)]
    differences = [density[box] for density in (before, after)]
    axes = ("z", "y", "x")
    planes = [int(np.abs(differences[0]).sum(axis=_others(axis)).argmax()) for axis in range(3)]
    offsets = [planes[axis] + box[axis].start for axis in range(3)]
    heads = ("Initial", "Target", "Generated", "Target − initial", "Target − generated")
    kinds: list[tuple[str, list[str], Callable[[np.ndarray, int], np.ndarray]]] = [
        (
            "Slices, where initial map and target differ most",
            [f"{name} = {offset}" for name, offset in zip(axes, offsets)],
            lambda density, axis: density.take(planes[axis], axis=axis),
        ),
        ("Projections", [f"along {name}" for name in axes], lambda density, axis: density.sum(axis=axis)),
    ]
    blocks = []
    for title, names, flatten in kinds:
        cells = "<span></span>" + "".join(f'<span class="head">{head}</span>' for head in heads)
        for axis in range(3):
            sizes = [size for other, size in enumerate(voxel_size) if other != axis]
            flat = [flatten(density, axis) for density in densities]
            differ = [flatten(density, axis) for density in differences]
            most = max(float(np.abs(differ[0]).max()), 1e-30)
            pictures = [_picture(f / max(float(f.max()), 1e-30), sizes, "grey") for f in flat]
            pictures += [_picture(f / most, sizes, "signed") for f in differ]
            label = f'<span class="side">{names[axis]}</span>'
            cells += label + "".join(
                f'<img alt="{head}, {names[axis]}" src="{picture}">' for head, picture in zip(heads, pictures)
            )
        blocks.append(f'<h3>{title}</h3><div class="pictures">{cells}</div>')
    text = (
        "Maps are shown above their levels, each scaled to its brightest. Differences are of the target and the "
        "other map, blurred to the target's resolution and scaled to it: <b class=more>orange</b> is density of the "
        "target that is missing, <b class=less>blue</b> is density that should not be there; both columns have one "
        "scale. What is left on the right no motion explains."
    )
    return _section("Before and after", f"<p>{text}</p>{''.join(blocks)}")


def _training_section(told: _Run) -> str:
    stages = told.stages
    charts = [_chart("Loss", lambda axes: _draw_losses(axes, told.losses, stages, told.row.step))]
    lines: list[tuple[str, list[tuple[str, str]]]] = [
        ("Correlation with the target", [("correlation", "generated and target"), ("held_out", "held-out voxels")]),
        (
            "Resolution at FSC = 0.5, Å",
            [("resolution", "against the target"), ("validation", "against the validation map")],
        ),
        ("Distance left, Å", [("transport_distance", "")]),
        ("Strain, and share of the mass that is folded", [("strain", "strain"), ("folded", "folded")]),
    ]
    for title, names in lines:
        charts.append(_chart(title, lambda axes, names=names: _draw_measures(axes, told, names)))  # type: ignore[misc]
    charts.append(_chart("Shell correlation with the target", lambda axes: _draw_shells(axes, told)))
    listed = "".join(f"<li>from step {step}: {_escaped(text)}</li>" for step, text in stages)
    best = told.rows[best_checkpoint(told.rows)].step
    said = f"<p>The dashed line marks step {told.row.step}, the checkpoint that this report shows"
    said += ": the best one.</p>" if best == told.row.step else f"; the best one is that of step {best}.</p>"
    if stages:
        said += (
            "<p>Dotted lines part the stages of the recipe, each with a loss of its own; a stage that starts anew "
            "begins at the initial map again.</p>"
            f"<details><summary>{len(stages)} stages</summary><ol>{listed}</ol></details>"
        )
    return _section("Training", f'{said}<div class="charts">{"".join(charts)}</div>')


def _motion_section(told: _Run, motion: Motion | None) -> str:
    if motion is None:
        return ""
    length = np.sqrt((motion.displacement**2).sum(axis=1))
    charts = _chart("Displacement, Å", lambda axes: _draw_histogram(axes, length, motion.weights, None))
    charts += _chart(
        "Volume change, det F", lambda axes: _draw_histogram(axes, motion.volume_change, motion.weights, 1.0)
    )
    mean = float(np.average(length, weights=motion.weights)) if len(length) else 0.0
    text = (
        f"Shares of the mass of the initial map. On average it moves by {mean:.2g} Å, at most by {length.max():.3g} Å. "
        f"A molecule keeps its volume: the chart on the right should be narrow about 1."
    )
    return _section("Motion", f'<p>{text}</p><div class="charts">{charts}</div>')


def _run_section(told: _Run, blur: float) -> str:
    content, options = told.content, told.content["options"]
    versions = content.get("versions") or {}
    lines: list[tuple[str, str]] = []
    for key in ("initial", "target", "validation"):
        described = content.get(key)
        if isinstance(described, dict):
            lines.append((f"{key.capitalize()} map", _map_text(described)))
    for name, key in (("Recipe", "recipe"), ("Flow", "flow"), ("Loss", "loss"), ("Symmetry", "symmetry")):
        if options.get(key) is not None and not (key == "loss" and options.get("recipe") == "auto"):
            lines.append((name, str(options[key])))
    if options.get("hold_out") is not None:
        lines.append(("Held out", f"{options['hold_out']:.0%} of the target's mass"))
    lines += [
        ("Blur to the target's resolution", f"{blur:.2f} Å"),
        ("Steps", f"{content.get('step', told.rows[-1].step)}, {content.get('state', 'state not known')}"),
        ("Points at the start", str(content.get("n_points", "–"))),
        ("Seed", str(options.get("seed", "–"))),
        ("Device", str((content.get("device") or {}).get("used", "–"))),
        ("Started", str(content.get("started", "–"))),
        ("Time", _time_text(content.get("seconds"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "–"),
        ("Report written", now()),
    ]
    rows = "".join(f"<dt>{_escaped(name)}</dt><dd>{_escaped(text)}</dd>" for name, text in lines)
    command = " ".join(shlex.quote(str(word)) for word in content.get("command") or [])
    shown = f"<pre>cryotrans-{_escaped(command)}</pre>" if command else ""
    return _section("What was run", f"<dl>{rows}</dl>{shown}") + _list_section("Notes", told.texts("notes"))


def _list_section(title: str, texts: Sequence[str]) -> str:
    return _section(title, f"<ul>{''.join(f'<li>{_escaped(text)}</li>' for text in texts)}</ul>") if texts else ""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _map_text(described: dict[str, Any]) -> str:
    text = str(described.get("name") or Path(str(described.get("path", "–"))).name)
    if described.get("level") is not None:
        text += f", level {described['level']:g}"
    shape, size = described.get("grid_shape"), described.get("voxel_size")
    if shape and size:
        text += (
            f", {'×'.join(str(n) for n in shape[::-1])} voxels of {' × '.join(f'{s:g}' for s in _once(size[::-1]))} Å"
        )
    return text


def _once(values: Sequence[float]) -> Sequence[float]:
    return values[:1] if len(set(values)) == 1 else values


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _title(content: dict[str, Any]) -> str:
    names = [str((content.get(key) or {}).get("name", key)) for key in ("initial", "target")]
    return " → ".join(names)


def _escaped(text: str) -> str:
    return html.escape(text)


# Pictures

_FAINTEST_SHOWN = 0.02  # of the maximum


def _bounding_box(occupied: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    slices = []
    for axis, n in enumerate(occupied.shape):
        there = np.flatnonzero(occupied.any(axis=_others(axis)))
        slices.append(slice(max(0, int(there[0]) - _MARGIN), min(n, int(there[-1]) + 1 + _MARGIN)))
    return slices[0], slices[1], slices[2]


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def _picture(values: np.ndarray, sizes: Sequence[float], colours: str) -> str:
    """A data URI of a PNG: "grey" of 0 to 1, or "signed" of -1 to 1, dark at 0; the first row lies at the bottom."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.image import imsave

    shrunk = _shrunk(values, sizes)
    if colours == "grey":
        # Square root: faint parts show beside the brightest.
        image = colormaps["gray"](np.sqrt(np.clip(shrunk, 0, 1)))
    else:
        signed = LinearSegmentedColormap.from_list("signed", ["#8fd0ff", "#2b7fd4", "#0b0b0d", "#d9701a", "#ffd08a"])
        image = signed((np.clip(shrunk, -1, 1) + 1) / 2)
    file = io.BytesIO()
    imsave(file, np.ascontiguousarray((image[::-1, :, :3] * 255).astype(np.uint8)), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _shrunk(values: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Means of blocks, so that no side is longer than a picture may be; square pixels where the voxels are none."""
    n = math.ceil(max(values.shape) / _LARGEST_PICTURE)
    if n > 1:
        padded = np.pad(values, [(0, -m % n) for m in values.shape])
        values = padded.reshape(padded.shape[0] // n, n, padded.shape[1] // n, n).mean(axis=(1, 3))
    repeats = [max(1, round(size / min(sizes))) for size in sizes]
    return values.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)


# Charts


def _chart(title: str, draw: Callable[[Axes], None]) -> str:
    """One chart as a figure of HTML."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "cryotrans", "font.size": 8.5, "path.simplify": True}
    colours = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    settings |= dict.fromkeys(colours, _INK) | {"legend.frameon": False, "axes.linewidth": 0.6}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=_CHART, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=_FAINT, linewidth=0.5)
        axes.set_axisbelow(True)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    for colour, variable in _STYLE_OF.items():
        svg = svg.replace(colour, f"var({variable})")
    return f"<figure><figcaption>{title}</figcaption>{svg}</figure>"


def _draw_losses(axes: Axes, losses: Sequence[float], stages: Iterable[tuple[int, str]], step: int) -> None:
    values = np.asarray(losses, dtype=float)
    every = max(1, math.ceil(len(values) / _MOST_VERTICES))
    axes.plot(np.arange(len(values))[::every], values[::every], color=_FIRST, linewidth=1)
    if len(values) and values.min() > 0:
        axes.set_yscale("log")
    for begin, _ in stages:
        if begin:
            axes.axvline(begin, color=_INK, linewidth=0.7, linestyle=":", alpha=0.6)
    _mark(axes, step)


def _draw_measures(axes: Axes, told: _Run, names: Sequence[tuple[str, str]]) -> None:
    rows = told.rows[:: max(1, math.ceil(len(told.rows) / _MOST_VERTICES))]
    steps, drawn = [row.step for row in rows], 0
    for (name, label), colour in zip(names, (_FIRST, _SECOND)):
        values = [getattr(row, name) for row in rows]
        if not all(math.isnan(value) for value in values):
            dots = "." if len(rows) <= _FEW else None
            axes.plot(steps, values, color=colour, linewidth=1.2, marker=dots, markersize=4, label=label)
            drawn += 1
    if drawn > 1:
        axes.legend(fontsize=8)
    _mark(axes, told.row.step)


def _mark(axes: Axes, step: int) -> None:
    axes.axvline(step, color=_MARK, linewidth=1.2, linestyle="--")
    axes.set_xlabel("step")


def _draw_shells(axes: Axes, told: _Run) -> None:
    first, row = told.rows[0], told.row
    for step, colour in ((first.step, _SECOND), (row.step, _FIRST)):
        if step in told.curves:
            axes.plot(told.frequencies, told.curves[step], color=colour, linewidth=1.2, label=f"step {step}")
    axes.axhline(0.5, color=_MARK, linewidth=1, linestyle="--")
    axes.set_ylim(min(0.0, *axes.get_ylim()), 1.02)
    axes.set_xlim(0, None)
    axes.set_xlabel("resolution, Å")
    axes.xaxis.set_major_formatter(lambda value, _: f"{1 / value:.3g}" if value > 0 else "∞")
    axes.legend(fontsize=8)


def _draw_histogram(axes: Axes, values: np.ndarray, weights: np.ndarray, mark: float | None) -> None:
    finite = np.isfinite(values)
    low, high = np.percentile(values[finite], (0.2, 99.8)) if finite.any() else (0.0, 1.0)
    if mark is not None:
        low, high = min(low, mark - 0.5), max(high, mark + 0.5)
    clipped = np.clip(values[finite], low, high)
    shares = weights[finite] / weights.sum()
    axes.hist(
        clipped, bins=48, range=(min(low, 0.0), high) if mark is None else (low, high), weights=shares, color=_FIRST
    )
    if mark is not None:
        axes.axvline(mark, color=_MARK, linewidth=1.2, linestyle="--")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value >= 0.01 or value == 0 else f"{value:.1%}")


# The page

_STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #fff; --ink: #22252a; --quiet: #646a73; --faint: #dfe1e4;
  --first: #1769aa; --second: #c2621b; --mark: #8a8f98; --good: #1d7d46; --doubtful: #a56a00; --poor: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1e2125; --ink: #e3e5e8; --quiet: #9aa1ab;
  --faint: #363b42; --first: #6db6f2; --second: #f0a263; --mark: #868d97; --good: #5fc98c; --doubtful: #e6b04d;
  --poor: #f2857d; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1080px; padding: 28px 20px 48px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif }
header p { margin: 0; color: var(--quiet) }
h1 { margin: 0 0 18px; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere }
h2 { margin: 0 0 8px; font-size: 18px }
h3 { margin: 18px 0 8px; font-size: 14px; color: var(--quiet); font-weight: 600 }
section { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; padding: 18px 22px;
  margin: 0 0 16px }
section > p { margin: 0 0 8px }
.verdict { border-left: 8px solid var(--tone) }
.good { --tone: var(--good) } .doubtful { --tone: var(--doubtful) } .poor { --tone: var(--poor) }
.word { font-size: 17px } .word span { font-size: 28px; font-weight: 700; color: var(--tone); margin-right: 10px }
.verdict ul { margin: 4px 0 10px; padding-left: 20px }
.caveat, small, .head, .side { color: var(--quiet) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
.measures td, .measures th { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--faint);
  vertical-align: top; font-weight: 400 }
.measures th[scope=row] { text-align: left; padding-left: 0; font-weight: 600 }
.measures th[scope=col] { color: var(--quiet) }
.measures tr > :nth-child(3) { font-weight: 700 }
small { display: block; font-size: 12.5px; font-weight: 400 }
.pictures { display: grid; grid-template-columns: 58px repeat(5, minmax(0, 1fr)); gap: 6px; align-items: center }
.pictures img { width: 100%; display: block; border-radius: 5px }
.head { text-align: center; font-size: 13px } .side { font-size: 13px }
.more { color: var(--second) } .less { color: var(--first) }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 18px 24px;
  margin-top: 12px }
figure { margin: 0 } figure svg { width: 100%; height: auto; display: block }
figure text { font-family: inherit !important }
figcaption { font-size: 14px; font-weight: 600; margin-bottom: 2px }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 22px; margin: 0 } dt { color: var(--quiet) }
dd { margin: 0; overflow-wrap: anywhere }
pre { background: var(--paper); padding: 10px 12px; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 13px; margin: 14px 0 0 }
@media (max-width: 620px) { dl { display: block } dd { margin-bottom: 6px }
  .pictures { grid-template-columns: repeat(5, minmax(0, 1fr)) } .pictures > :first-child { display: none }
  .side { grid-column: 1 / -1 } .head { font-size: 10px } }
@media print { body { background: none } section { break-inside: avoid } }
"""


def _page(title: str, sections: Iterable[str]) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{_GENERATOR}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_escaped(title)}</title>'
        f"<style>{_STYLE}</style></head><body><header><p>CryoTRANS report</p><h1>{_escaped(title)}</h1></header>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )
