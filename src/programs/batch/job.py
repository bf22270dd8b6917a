"""What Snakemake starts for a pair, and at the end for all: `python -m chimerax.cryotrans.programs.batch.job`.

    job pair TABLE NAME ATTEMPT ATTEMPTS    trains, predicts, writes result.json
    job report TABLE                        writes table.csv and report.html

A run that has a state is resumed, one that is finished is not run again.  A pair that fails for what is said of it,
its maps or its options fails for good, and result.json has the sentence; what may pass, such as a full disk, makes the
job fail, so that Snakemake tries again, but for the last time.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...engine.errors import InputError
from ...engine.files import lock
from ...engine.files.batch_folder import FRAMES, RESULT_FILE, folder_of_pair
from ...engine.files.run_directory import RunDirectory
from ...engine.files.writing import write_atomically
from ...engine.options.option import command_line
from ...engine.options.prediction import PREDICTION
from ...engine.options.training import TRAINING
from ..allocator import keep_freed_memory
from ..command_line import Ended, run_program
from ..streams import let_go, show_anything
from .outcome import figures_of, write_thumbnail
from .pairs import Row, pair_named
from .run_of_pair import can_go_on, difference, is_trained

_LOCK_FILE = "job.lock"
_SECONDS_BETWEEN_LOOKS = 1.0


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    keep_freed_memory()
    show_anything()
    try:
        kind, table, *more = arguments
        if kind == "report":
            from .report import write_batch_report

            write_batch_report(Path(table))
            return 0
        name, attempt, attempts = more
        return run_pair(Path(table), name, int(attempt) >= int(attempts))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        let_go()


def run_pair(table: Path, name: str, is_last: bool) -> int:
    """Train, predict and write result.json; the exit status.

    Args:
        table: the pairs as they were checked, in the folder of the results.
        is_last: Snakemake will not try again.
    Raises:
        InputError: there is no such pair.
    """
    row = pair_named(table, name)
    folder = folder_of_pair(table.parent, name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / RESULT_FILE
    with _alone_in(folder):
        if result.is_file():  # which Snakemake had not seen: of a job that outlived the Snakemake that started it
            return 0
        return _run(row, folder, result, is_last)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for a job at work on the same pair, which outlived the Snakemake that started it; keep later ones out."""
    with open(folder / _LOCK_FILE, "a+b") as file:
        while lock.take_lock(file.fileno()) is False:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        yield


def _run(row: Row, folder: Path, result: Path, is_last: bool) -> int:
    ended = _carry_out(row, RunDirectory(folder))
    if ended.status and (not ended.sentence or (ended.may_pass and not is_last)):
        return ended.status  # stopped, or worth another try
    content: dict[str, Any] = {"name": row.name, "state": "failed" if ended.status else "finished"}
    content |= {"said": ended.sentence, "initial": row.training["initial_map"], "target": row.training["target_map"]}
    content |= figures_of(folder)
    write_thumbnail(folder)
    write_atomically(result, (json.dumps(content, indent=1) + "\n").encode())
    return 0


def _carry_out(row: Row, run: RunDirectory) -> Ended:
    if run.holds_run() and (different := difference(run, row)):
        return Ended(2, f"{run.path} holds a run {different}. Give the pair another name, or move it away.")
    if not is_trained(run):
        trained = run_program(_training(row, run))
        if trained.status:
            return trained
    return run_program(_prediction(row, run))


def _training(row: Row, run: RunDirectory) -> list[str]:
    said = {**row.training, "directory": str(run.path), "progress": "none"}
    if can_go_on(run):
        kept = ("initial_map", "target_map", "directory", "progress", "device", "gpu", "no_report")
        return ["train", "--resume", *command_line({name: said[name] for name in kept if name in said}, TRAINING)]
    # What ended before its first checkpoint is begun again.
    return ["train", *command_line(said, TRAINING), *(["--overwrite"] if run.holds_run() else [])]


def _prediction(row: Row, run: RunDirectory) -> list[str]:
    maps = {"initial_map": row.training["initial_map"], "initial_level": row.training["initial_level"]}
    where = {"run": str(run.path), "directory": str(run / FRAMES), "progress": "none", "overwrite": True}
    return ["predict", *command_line({**row.prediction, **maps, **where}, PREDICTION)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
