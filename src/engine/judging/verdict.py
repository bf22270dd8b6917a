"""Whether a morph can be believed, in one word and in sentences, and which of its checkpoints is the best.

A flow that may stretch and fold at will turns any map into any other, so a high correlation alone says little.  What
tells two states of one molecule from two unrelated maps is the price: parts of a molecule turn and slide, and keep
their volume and shape.  So a morph is judged by how well it arrives and by how it deforms what it carries.

The word is that of the worst finding:

                          doubtful                            poor
    correlation           below 0.8                           below 0.6; both times the ceiling that the
                                                              target's noise leaves, if half maps tell it
    gap closed            below half of it                    below a quarter; neither where the start's distance
                                                              is below a voxel
    distance left         above 0.3 of the start's            above 0.6; neither where it is below a voxel
    resolution            twice as coarse as the target's     no finer than at the start, and above 3 voxels
    strain                above 0.21                          above 0.36
    folded                above 4 % of the mass               above 10 %
    mass outside          above 1 %                           above 10 %
    no partner            a part of either map has none       more than half of either map has none
    witness               doubts two pieces or more, above    above a third
                          5 % of the mass
    confidence            below one half for more than 15 %   more than 40 %
                          of the mass
    held-out correlation  falls by 0.02 after the best step   by 0.1; 0.02 below the start's; 0.15 below
                                                              the correlation
    validation            coarser by 10 % after the best      by 50 %
    strain later on       from below 0.21 to above 0.36       -
    ended early           recipe auto, by a limit of steps    -
    still improving       correlation gains 0.01 in the       -
                          last tenth of the steps; not where
                          a recipe has come to its end

The gap is 1 - correlation.  The start is the first checkpoint if it lies at rest: a run that began from trained weights
has none.  The limits part the runs on which they were tried, see docs/verdict.md.
Between two states of a molecule right flows had correlations from 0.91, strains of 0.05 to 0.21 and up to 4 % of the
mass folded, or something was said against them.  Between two molecules trainings ended at correlations of 0.79 to 0.94,
strains of 0.34 to 0.47 and up to 18 % folded.  One pair comes right but for its loops (3.2 to 5 Å; 80 % of the residues
within 2 Å), at strains from 0.16 on: strain or regions that are doubtful by themselves give it away, in noise nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from ..flow.price import price
from . import advice
from .measures import Measures

WORDS = ("good", "doubtful", "poor")

_LOW_CORRELATION = (0.8, 0.6)
_LEAST_CLOSED = (0.5, 0.25)
_MOST_LEFT = (0.3, 0.6)
_TIMES_TARGET_RESOLUTION, _RESOLVED = 2.0, 3.0
_MOST_STRAIN = (0.21, 0.36)
_MOST_FOLDED = (0.04, 0.1)
_MOST_OUTSIDE = (0.01, 0.1)
_HELD_OUT_FALL = (0.02, 0.1)
_HELD_OUT_BELOW = 0.15
_VALIDATION_RISE = (1.1, 1.5)
_STILL_GAINING = 0.01  # in a tenth of the steps
_MOST_DOUBTED = (0.05, 0.33)
_MOST_DOUBTFUL = (0.15, 0.4)
_SAID_FIRST = 0.05  # of the mass: doubtful regions of a flow that is good
_MOST_ALONE = (0.0, 0.5)
_TO_PARTS = (advice.REGION, advice.MASK)
_FEWEST_DOUBTED = 2  # pieces: of right flows one is doubted now and then
_MOST_PLACES = 3
_AT_REST = 0.02  # strain of a network's random start
_SAME_RESOLUTION = 1.02


class Verdict(NamedTuple):
    """One of `WORDS`, and why: what speaks against the morph, the worst first; if nothing does, what speaks for it.

    The advice, nothing where the word is good, names options as errors.py says.
    """

    word: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...] = ()


class _Finding(NamedTuple):
    severity: int  # index of the word
    text: str
    advice: tuple[str, ...] = ()  # what to do about it, if it speaks against the morph


def best_checkpoint(rows: Sequence[Measures]) -> int:
    """Which checkpoint to use.

    The one of the highest correlation, on held-out voxels where there are some, after 0.1 is taken off for each unit of
    strain above 0.27, and the share of the mass that is folded.  With a validation map only those count whose
    resolution against it is within 2 % of the finest.  Of equal ones the first.

    Args:
        rows: of one run, at least one.
    """
    finest = min((row.validation for row in rows if not math.isnan(row.validation)), default=math.inf)
    usable = [i for i, row in enumerate(rows) if not row.validation > _SAME_RESOLUTION * finest]
    return max(usable, key=lambda i: _score(rows[i]))


def verdict_on(
    rows: Sequence[Measures],
    best: int,
    voxel_size: tuple[float, float, float],
    target_resolution: float | None = None,
    without_partner: Sequence[Mapping[str, Any]] = (),
    witness: Mapping[str, Any] | None = None,
    confidence: Mapping[str, Any] | None = None,
    ceiling: float | None = None,
    ended_early: bool = False,
    has_settled: bool = False,
) -> Verdict:
    """Say whether the morph of the best checkpoint can be believed; the rules are in the module's text.

    Args:
        rows: of one run in the order of the steps, at least one.
        best: index of the checkpoint that is used.
        voxel_size: (z, y, x), Å.
        target_resolution: Å, if the user knows it.
        without_partner: of each part of a map that has no partner in the other, `text`, a sentence, and `share`, of its
            map's mass.
        witness: what docked pieces say of the best checkpoint, see `Witness.to_dict`; of another one it is left out.
        confidence: the regions of the best checkpoint that are doubtful, see `confidence.summary`; likewise.
        ceiling: of the correlation, that the target's noise leaves.
        ended_early: a limit of steps has ended the recipe before its last stage.
        has_settled: the recipe has come to its end by itself, so that there are no more steps to make.
    """
    row = rows[best]
    if any(math.isnan(value) for value in (row.correlation, row.strain, row.transport_distance)):
        return Verdict(
            "poor",
            (f"The flow of step {row.step} has lost its points: positions are no numbers any more.",),
            (advice.UNUSED, advice.FEWER),
        )
    start = rows[0] if rows[0].strain < _AT_REST else None
    regions = list(_regions(row, confidence))
    findings = [
        *(_Finding(_above(each["share"], _MOST_ALONE), each["text"], _TO_PARTS) for each in without_partner),
        *_arrival(row, start, max(voxel_size), target_resolution, 1.0 if ceiling is None else ceiling),
        *_deformation(row),
        *_testimony(row, witness),
        *regions,
        *_course(rows, best, start, has_settled),
    ]
    if ended_early:
        findings.append(_Finding(1, "A limit of steps has ended the recipe before its last stage.", (advice.WHOLE,)))
    worst = max(finding.severity for finding in findings)
    against = sorted((f for f in findings if f.severity > 0), key=lambda f: -f.severity)
    if not against:  # of a good whole a part may be wrong: that is said first
        exceptions = regions if confidence and confidence["doubtful"] >= _SAID_FIRST else []
        others = [finding for finding in findings if finding not in exceptions]
        return Verdict(WORDS[0], tuple(finding.text for finding in (*exceptions, *others)))
    to_do = [*([advice.UNUSED] if worst == 2 else []), *(each for finding in against for each in finding.advice)]
    return Verdict(WORDS[worst], tuple(finding.text for finding in against), tuple(dict.fromkeys(to_do)))


def _score(row: Measures) -> float:
    correlation = row.correlation if math.isnan(row.held_out) else row.held_out
    score = correlation - price(row.strain, row.folded)
    return -math.inf if math.isnan(score) else score


def _arrival(
    row: Measures, start: Measures | None, voxel: float, target_resolution: float | None, ceiling: float
) -> Iterator[_Finding]:
    """Does the initial map become the target?"""
    severity, text = (
        _below(row.correlation / ceiling, _LOW_CORRELATION),
        f"The correlation with the target is {row.correlation:.3f}",
    )
    if ceiling < 1:
        text += f", of {ceiling:.3f} that its noise allows"
    if start is not None and start.correlation < ceiling:
        text += f", from {start.correlation:.3f} at the start"
        if start.transport_distance > voxel:
            closed = (row.correlation - start.correlation) / (ceiling - start.correlation)
            severity = max(severity, _below(closed, _LEAST_CLOSED))
            text += f": {max(0.0, closed):.0%} of the gap is closed"
        else:
            text += ", where the maps are alike to less than a voxel: there is no motion to speak of"
    yield _Finding(severity, text + ".", (advice.LEVELS, advice.SAME, advice.MASK))
    left = row.transport_distance
    if start is not None and start.transport_distance > 0:
        share = left / start.transport_distance
        yield _Finding(
            _above(share, _MOST_LEFT) if left > voxel else 0,
            f"The mass would have to go {left:.2g} Å further ({left / voxel:.2g} voxels) to become the target; at the "
            f"start it was {start.transport_distance:.2g} Å.",
            (advice.AUTO, advice.LEVELS, advice.MASK),
        )
    yield from _detail(row, start, voxel, target_resolution)
    severity = _above(row.mass_outside, _MOST_OUTSIDE)
    if severity:
        yield _Finding(severity, f"{row.mass_outside:.1%} of the mass has left the box.", (advice.BOX,))


def _detail(row: Measures, start: Measures | None, voxel: float, target_resolution: float | None) -> Iterator[_Finding]:
    text = f"The generated map agrees with the target to {row.resolution:.3g} Å (FSC = 0.5)"
    unresolved = row.resolution > _RESOLVED * voxel
    if start is not None and unresolved and row.resolution >= start.resolution:
        yield _Finding(
            2, f"{text}, no better than the initial map does, {start.resolution:.3g} Å.", (advice.SAME, advice.SWAP)
        )
    elif target_resolution is not None and row.resolution > _TIMES_TARGET_RESOLUTION * target_resolution:
        yield _Finding(1, f"{text}; the target itself has detail to {target_resolution:.3g} Å.", (advice.MORE,))
    else:
        yield _Finding(0, text + ".")


def _deformation(row: Measures) -> Iterator[_Finding]:
    """Is it deformed as molecules are?"""
    severity = _above(row.strain, _MOST_STRAIN)
    if severity:
        text = (
            f"Pieces of the map change shape by {row.strain:.0%} on average (strain), more than parts of a molecule "
            f"do: the maps may not be two states of one molecule, or the flow is so free that it fits noise."
        )
    else:
        text = f"Pieces of the map keep their shape: the strain is {row.strain:.2f}, 0 being rigid."
    yield _Finding(severity, text, (advice.SAME, advice.RIGID, advice.LEVELS))
    severity = _above(row.folded, _MOST_FOLDED)
    if severity:
        yield _Finding(
            severity,
            f"Space is turned inside out for {row.folded:.1%} of the mass (folded), which no motion does.",
            (advice.REGION, advice.RIGID),
        )


def _testimony(row: Measures, witness: Mapping[str, Any] | None) -> Iterator[_Finding]:
    """Do pieces that are docked by themselves come to where the flow takes them?"""
    if witness is None or witness["step"] != row.step:
        return
    pieces, doubted = witness["pieces"], witness["doubted"]
    doubtful = [piece for piece in pieces if piece["doubt"]]
    severity = _above(doubted, _MOST_DOUBTED) if len(doubtful) >= _FEWEST_DOUBTED else 0
    if not doubtful:
        yield _Finding(0, f"All {len(pieces)} pieces that were docked by themselves fit where the flow takes them.")
        return
    places = "; ".join("({:.0f}, {:.0f}, {:.0f})".format(*piece["place"]) for piece in doubtful[:_MOST_PLACES])
    does, them = ("does", "it") if len(doubtful) == 1 else ("do", "them")
    more = f" and {len(doubtful) - _MOST_PLACES} more" if len(doubtful) > _MOST_PLACES else ""
    text = (
        f"Of {len(pieces)} pieces that were docked by themselves, {len(doubtful)} with {doubted:.0%} of the mass "
        f"{does} not fit where the flow takes {them}: near {places} Å (x, y, z){more}."
    )
    elsewhere = [piece["apart"] for piece in doubtful if piece["doubt"] == "elsewhere"]
    if elsewhere:
        text += f" Better fits are {median(elsewhere):.0f} Å away."
    yield _Finding(severity, text, (advice.REGION, advice.RIGID, advice.LEVELS))


def _regions(row: Measures, confidence: Mapping[str, Any] | None) -> Iterator[_Finding]:
    """Is all of it to be believed?"""
    if confidence is None or confidence["step"] != row.step:
        return
    doubtful, regions = confidence["doubtful"], confidence["regions"]
    if not regions:
        yield _Finding(0, "No region of 1% of the mass or more is doubtful by itself.")
        return
    places = "; ".join("({:.0f}, {:.0f}, {:.0f})".format(*region["place"]) for region in regions[:_MOST_PLACES])
    more = f" and {len(regions) - _MOST_PLACES} more" if len(regions) > _MOST_PLACES else ""
    yield _Finding(
        _above(doubtful, _MOST_DOUBTFUL),
        f"{doubtful:.0%} of the mass is doubtful by itself, near {places} Å (x, y, z){more}: it fits worse there, or "
        f"changes its shape.",
        (advice.REGION, advice.LEVELS),
    )


def _course(rows: Sequence[Measures], best: int, start: Measures | None, has_settled: bool) -> Iterator[_Finding]:
    """Did training go too far, or not far enough?"""
    row, last = rows[best], rows[-1]
    if not math.isnan(row.held_out):
        yield _held_out(row, start, last)
    if not math.isnan(row.validation):
        text = f"Against the validation map the resolution is {row.validation:.3g} Å"
        severity = _above(last.validation / row.validation, _VALIDATION_RISE)
        if severity:
            text = f"Overfitting: a{text[1:]} at step {row.step} and {last.validation:.3g} Å at step {last.step}"
        yield _Finding(severity, text + ".", (advice.FEWER,))
    if row.strain < _MOST_STRAIN[0] and last.strain > _MOST_STRAIN[1]:
        yield _Finding(
            1,
            f"Overfitting, or a wrong way: the strain grew from {row.strain:.2f} at step {row.step} to "
            f"{last.strain:.2f} at step {last.step}.",
            (advice.RIGID, advice.FEWER),
        )
    if best == len(rows) - 1 and not has_settled:
        tenth = 0.1 * last.step
        earlier = next((r for r in reversed(rows) if r.step <= last.step - tenth), last)
        gained = last.correlation - earlier.correlation
        if earlier is not rows[0] and gained * tenth > _STILL_GAINING * (last.step - earlier.step):
            yield _Finding(
                1,
                f"Training ended while it still improved: the correlation gained {gained:.3f} since step "
                f"{earlier.step}.",
                (advice.MORE,),
            )


def _held_out(row: Measures, start: Measures | None, last: Measures) -> _Finding:
    text = f"Held-out correlation is {row.held_out:.3f} at step {row.step}"
    if start is not None and row.held_out < start.held_out - _HELD_OUT_FALL[0]:
        return _Finding(
            2,
            f"Overfitting: held-out correlation fell from {start.held_out:.3f} at the start to {row.held_out:.3f}.",
            (advice.SAME, advice.FEWER),
        )
    if row.held_out - last.held_out > _HELD_OUT_FALL[0]:
        severity = _above(row.held_out - last.held_out, _HELD_OUT_FALL)
        return _Finding(
            severity, f"Overfitting: h{text[1:]} and {last.held_out:.3f} at step {last.step}.", (advice.FEWER,)
        )
    if row.correlation - row.held_out > _HELD_OUT_BELOW:
        return _Finding(
            2,
            f"Overfitting: h{text[1:]}, far below {row.correlation:.3f} where training saw the target.",
            (advice.FEWER, advice.RIGID),
        )
    return _Finding(0, text + ".")


def _above(value: float, limits: tuple[float, float]) -> int:
    """0, 1 or 2: how many limits are passed, the second being the higher."""
    return sum(value > limit for limit in limits)


def _below(value: float, limits: tuple[float, float]) -> int:
    return sum(value < limit for limit in limits)
