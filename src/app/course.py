"""The course of a run in words: how far it is, how long it takes, what is thought of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import __version__
from .wording import in_keywords


def checkpoint_text(message: Mapping[str, Any], n_steps: int | None) -> str:
    """What the worker tells of a checkpoint; not the loss, which means another thing in each stage."""
    reached = [
        f"correlation {message['correlation']:.3f}" if _is_number(message.get("correlation")) else "",
        f"resolution {message['resolution']:.1f} Å" if _is_number(message.get("resolution")) else "",
    ]
    step = f"{leg_text(message)}step {message['step']} of {n_steps}"
    return ", ".join(filter(None, [step, *reached, time_text(message["seconds"])]))


def verdict_text(verdict: object) -> str:
    """The worker's verdict, a word and sentences that say why; "" if it gave none."""
    if not isinstance(verdict, dict) or not verdict.get("word"):
        return ""
    sentences = [f"The morph is {verdict['word']}.", *verdict.get("reasons", ())]
    if advice := verdict.get("advice"):
        sentences += ["What to do next:", *(in_keywords(str(text)) for text in advice)]
    return " ".join(sentences)


def other_version_text(version: str | None) -> str:
    """What is to be said of a worker of that version, whom ours may misunderstand; "" if it is ours."""
    if version == __version__:
        return ""
    its = f"is version {version[:40]}" if version else "does not say its version"
    return (
        f"The worker {its}, and ChimeraX has loaded version {__version__}, as after an update: start ChimeraX anew, or "
        f"it may misunderstand what the worker tells."
    )


def leg_text(message: Mapping[str, object]) -> str:
    """ "leg 1 of 3, " on the way through several conformations, else ""."""
    return f"leg {message['leg']} of {message['n_legs']}, " if "leg" in message and "n_legs" in message else ""


def atoms_table(atoms: Mapping[str, Any], whose: str, end: int) -> dict[str, str]:
    """What the worker tells of atoms that were carried.

    Args:
        atoms: of its last message.
        whose: they are.
        end: the frame in which they have gone farthest.
    """
    kinds = {"bond_deviation": "bond lengths", "angle_deviation": "distances across one atom"}
    changes = [f"{name} by {atoms[key][end]:.3f} Å rms" for key, name in kinds.items() if atoms[key][end] is not None]
    outside = f", {atoms['n_outside']} of them outside the density" if atoms["n_outside"] else ""
    facts = {"Atoms": f"{atoms['n_atoms']} of {whose}{outside}"}
    if changes:
        facts["Changed at the target's end"] = ", ".join(changes)
    return facts


def time_text(seconds: float) -> str:
    """ "40 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
