"""The sections of the report, each HTML; whatever comes from outside is escaped."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import worded
from ...engine.judging.measures import Measures
from ...engine.judging.verdict import best_checkpoint
from ...engine.maps.bounding_box import bounding_box
from ...engine.maps.density_map import DensityMap, voxel_side
from ...engine.maps.preparation import above_level
from ...engine.options.training import TRAINING
from ..arguments import flag_in
from ..provenance import now
from .charts import chart, draw_histogram, draw_losses, draw_measures, draw_shells
from .contents import Motion, Run
from .page import escaped
from .pictures import FAINTEST_SHOWN, MARGIN, others, picture


def verdict_section(told: Run) -> str:
    word, reasons, advice = told.verdict
    said = {
        "good": "Nothing that was measured speaks against this morph.",
        "doubtful": "This morph may be right, but look closely: something speaks against it.",
        "poor": "Do not believe this morph.",
    }[word]
    items = "".join(f"<li>{escaped(reason)}</li>" for reason in reasons)
    to_do = "".join(f"<li>{escaped(worded(text, flag_in(TRAINING)))}</li>" for text in advice)
    if to_do:
        items += f"</ul><p>What to do next:</p><ul>{to_do}"
    return (
        f'<section class="verdict {word}"><p class="word"><span>{word.capitalize()}</span> {said}</p><ul>{items}</ul>'
        f'<p class="caveat">The path between the two maps is an interpolation, not physics: it is not a simulation, '
        f"has no energy and no time, and other paths may lead from one map to the other as well.</p></section>"
    )


def figures_section(told: Run) -> str:
    first, row, last = told.rows[0], told.row, told.rows[-1]
    columns = [(f"Step {first.step}", first), (f"Step {row.step}, shown here", row)]
    if last is not row:
        columns.append((f"Step {last.step}, the last", last))
    lines: list[tuple[str, str, Callable[[Measures], str]]] = [
        ("Correlation", "of generated map and target, amplitudes made alike", lambda r: f"{r.correlation:.3f}"),
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


def pictures_section(
    initial: DensityMap, target: DensityMap, levels: Sequence[float], generated: np.ndarray, blur: float
) -> str:
    """Slices and projections along the three axes: the maps, and the target less what is carried, before and after.

    Args:
        levels: of both maps.
        generated: (nz, ny, nx).
        blur: Å, standard deviation of the Gaussian that makes the initial as coarse as the target.
    """
    from ...engine.judging.motion_maps import REACH_OF_BLUR, residual

    voxel_size, voxels = initial.voxel_size, blur / voxel_side(initial.voxel_size)
    occupied = generated > FAINTEST_SHOWN * generated.max()
    for density_map, level in zip((initial, target), levels):
        occupied |= (density_map.density >= level) & (density_map.density > 0)
    around = max(MARGIN, math.ceil(REACH_OF_BLUR * voxels))
    wide = bounding_box(occupied, around)  # what is farther is in no picture
    densities = [
        *(
            above_level(dataclasses.replace(each, density=each.density[wide]), level)
            for each, level in zip((initial, target), levels)
        ),
        generated[wide],
    ]
    differences = [residual(each, densities[1], voxels) for each in (densities[0], densities[2])]
    box = bounding_box(occupied[wide], MARGIN)
    densities, differences = ([density[box] for density in each] for each in (densities, differences))
    axes = ("z", "y", "x")
    planes = [int(np.abs(differences[0]).sum(axis=others(axis)).argmax()) for axis in range(3)]
    offsets = [planes[axis] + wide[axis].start + box[axis].start for axis in range(3)]
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
            pictures = [picture(f / max(float(f.max()), 1e-30), sizes, "grey") for f in flat]
            pictures += [picture(f / most, sizes, "signed") for f in differ]
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


def training_section(told: Run) -> str:
    stages = told.stages
    charts = [chart("Loss", lambda axes: draw_losses(axes, told.losses, stages, told.row.step))]
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
        charts.append(chart(title, lambda axes, names=names: draw_measures(axes, told, names)))  # type: ignore[misc]
    charts.append(chart("Shell correlation with the target", lambda axes: draw_shells(axes, told)))
    listed = "".join(f"<li>from step {step}: {escaped(text)}</li>" for step, text in stages)
    best = told.rows[best_checkpoint(told.rows)].step
    said = f"<p>The dashed line marks step {told.row.step}, the checkpoint that this report shows"
    said += ": the best one.</p>" if best == told.row.step else f"; the best one is that of step {best}.</p>"
    if stages:
        said += (
            "<p>Dotted lines part the stages of the recipe, each with a loss of its own; a start begins "
            "anew, at the initial map or where domains were docked.</p>"
            f"<details><summary>{len(stages)} stages</summary><ol>{listed}</ol></details>"
        )
    return _section("Training", f'{said}<div class="charts">{"".join(charts)}</div>')


def motion_section(told: Run, motion: Motion | None) -> str:
    if motion is None:
        return ""
    length = np.sqrt((motion.displacement**2).sum(axis=1))
    charts = chart("Displacement, Å", lambda axes: draw_histogram(axes, length, motion.weights, None))
    charts += chart(
        "Volume change, det F", lambda axes: draw_histogram(axes, motion.volume_change, motion.weights, 1.0)
    )
    mean = float(np.average(length, weights=motion.weights)) if len(length) else 0.0
    text = (
        f"Shares of the mass of the initial map. On average it moves by {mean:.2g} Å, at most by {length.max():.3g} Å. "
        f"A molecule keeps its volume: the chart on the right should be narrow about 1."
    )
    if motion.whole is not None:
        text += f" {motion.whole.text()} The rest is motion of its parts."
    return _section("Motion", f'<p>{text}</p><div class="charts">{charts}</div>')


def run_section(told: Run, blur: float) -> str:
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
        ("Time", time_text(content.get("seconds"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "–"),
        ("Report written", now()),
    ]
    rows = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in lines)
    command = " ".join(shlex.quote(str(word)) for word in content.get("command") or [])
    shown = f"<pre>cryotrans-{escaped(command)}</pre>" if command else ""
    return _section("What was run", f"<dl>{rows}</dl>{shown}") + list_section("Notes", told.texts("notes"))


def list_section(title: str, texts: Sequence[str]) -> str:
    return _section(title, f"<ul>{''.join(f'<li>{escaped(text)}</li>' for text in texts)}</ul>") if texts else ""


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


def time_text(seconds: float | None) -> str:
    """As "2 h 5 min"."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


# Pictures


# Charts


# The page
