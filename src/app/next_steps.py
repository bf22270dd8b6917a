"""What the advice of a verdict says to try, as commands, where its maps are open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .markup import quoted
from .runs import Run
from .wording import in_keywords


class Step(NamedTuple):
    """Something to try next."""

    text: str
    command: str


def next_steps(run: Run, advice: Iterable[str]) -> list[Step]:
    """The commands for a run whose verdict came with this advice."""
    words = " ".join(in_keywords(str(text)) for text in advice)
    found: list[tuple[str, Step]] = []
    maps = run.initial, run.target
    if all(volume is not None and not volume.deleted for volume in maps) and not run.between:
        initial, target = (f"#{volume.id_string}" for volume in maps)
        there = f"cryotrans train {initial} to {target}"
        found = [
            ("the other way round", Step("Train the other way round", f"cryotrans train {target} to {initial}")),
            ("flow domains", Step("Train with domains alone", f"{there} flow domains")),
            ("recipe auto", Step("Train with recipe auto", f"{there} recipe auto")),
        ]
    found.append(("resume, without", Step("Resume", f"cryotrans resume {quoted(run.folder)}")))
    return [step for said, step in found if said in words]
