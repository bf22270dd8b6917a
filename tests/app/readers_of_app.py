"""What the ChimeraX half reads, like tests/readers.py: UserErrors are its sentences."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import headless
from readers import Reader, scratch

headless.claim_namespace()

from chimerax.core.errors import UserError  # noqa: E402

from chimerax.cryotrans.app.arrows import read_motion  # noqa: E402
from chimerax.cryotrans.app.commands.known_run import content_of, path_of_map  # noqa: E402
from chimerax.cryotrans.app.course import verdict_text  # noqa: E402
from chimerax.cryotrans.app.job import CryoTransJob, Frames  # noqa: E402
from chimerax.cryotrans.app.messages import message_of  # noqa: E402
from chimerax.cryotrans.app.next_steps import next_steps  # noqa: E402
from chimerax.cryotrans.app.riders import read_carried  # noqa: E402
from chimerax.cryotrans.app.runs import Run  # noqa: E402
from chimerax.cryotrans.app.runs_table import runs_table  # noqa: E402

__all__ = ["READERS", "UserError"]


def listed(path: Path) -> object:
    """A run in the table of runs, and what `cryotrans resume` and `predict` take of it."""
    run = Run(path.parent)
    table = runs_table([run]) + run.title() + str(run.weights()) + str(run.weights("last"))
    content = content_of(run)
    done, n_steps = content["step"], content["n_steps"]
    verdict = content.get("verdict")
    told = verdict_text(verdict), next_steps(run, (verdict or {}).get("advice") or ())
    return (
        table,
        done > n_steps,
        2 * done,
        content["state"],
        f"{content['options']['initial_level']:.3g}",
        told,
        [path_of_map(run, key).is_file() for key in ("initial", "target")],
    )


def models(path: Path) -> object:
    run = Run(path.parent.parent)
    found = run.models()
    return run.title(), run.names_of_targets(), found and found["initial"].get("path"), runs_table([run])


@functools.cache
def session() -> Any:
    return headless.start(Path(tempfile.mkdtemp(dir=scratch())))


def progress(path: Path) -> object:
    """All that a worker printed, taken up as it comes, by a training with frames and by frames alone."""
    told = [message_of(line) for line in path.read_bytes().splitlines()]
    wanted = Frames(Path("initial.mrc"), 0.2, 0.2, None, {"reverse": False}, None, "A to B")
    for training in ({}, None):
        job = CryoTransJob(session(), "A → B", Run(path.parent / "none"), Path("python"), training, wanted)
        try:
            for message in told:
                if message is not None:
                    job.take_up(message)
            job.finish()
            assert job.verdict is None or isinstance(job.verdict["word"], str)
        finally:
            job._forget()
    return told


READERS = {
    "listed": Reader("run.json", listed),
    "models": Reader("maps/models.json", models),
    "motion": Reader("motion.npz", read_motion),
    "carried": Reader("frame_atoms.npz", read_carried),
    "progress": Reader("progress.txt", progress),
}
