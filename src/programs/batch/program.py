"""cryotrans-batch: many pairs from one table.

The table is checked whole, and written beside the results as it was checked; Snakemake does the work (src/workflow).

Exit status: 0 all pairs are finished; 1 some failed or are not finished; 2 something to mend, said before anything was
started; 128 + n stopped by signal n.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ... import __version__
from ...engine.errors import InputError
from ...engine.files import lock
from ...engine.files.batch_folder import BATCH_REPORT, CONFIG_FILE, PAIRS_FILE, RESULT_FILE, folder_of_pair
from ...engine.files.writing import remove, write_atomically
from ..arguments import Parser
from ..progress import in_a_sentence
from ..streams import Stream, let_go, show_anything
from .checking import Checked, checked_table
from .outcome import outcome_of
from .pairs import write_pairs
from .report import counts_text

_WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"
_LOCK_FILE = "batch.lock"
_BAD_INPUT = 2
_DRY = {"-n", "--dry-run", "--dryrun"}
_NEWEST_WITHOUT = (3, 10)  # Python for which there is no Snakemake 9


def batch_program() -> int:
    """Entry point of cryotrans-batch."""
    return main(sys.argv[1:])


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    show_anything()
    try:
        asked, passed_on = _parsed(arguments)
        return _run(asked, passed_on)
    except InputError as error:
        Stream(sys.stderr).line(str(error))
        return _BAD_INPUT
    except OSError as error:
        Stream(sys.stderr).line(in_a_sentence(error))
        return _BAD_INPUT
    finally:
        let_go()


def _parsed(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, passed_on = list(arguments), []
    if "--" in own:
        at = own.index("--")
        own, passed_on = own[:at], own[at + 1 :]
    parser = Parser(
        prog="cryotrans-batch",
        description="Train and predict many pairs of maps from one table, with one report on all of them.",
        epilog="What comes after -- is passed on to Snakemake: -- -n shows what would be done, -- --set-threads pair=4 "
        "gives each pair four cores.",
    )
    add = parser.add_argument
    add("table", type=Path, help="CSV with the columns initial, target, initial level, target level; see docs/batch.md")
    add("-d", "--directory", type=Path, required=True, metavar="DIR", help="folder of the results, made if missing")
    add("--cores", metavar="N", help="cores to use at once (default: all)")
    add("--profile", metavar="PROFILE", help="of Snakemake: slurm, which is brought along, or one of your own")
    add("--gpus", type=int, default=0, metavar="N", help="each pair takes one GPU, N pairs at once (default: no GPUs)")
    add("--retry-failed", action="store_true", help="run pairs again that have failed")
    add("--version", action="version", version=f"CryoTRANS {__version__}")
    asked = parser.parse_args(own)
    if asked.gpus < 0:
        raise InputError(f"The number of GPUs (--gpus) must be 0 or more, not {asked.gpus}.")
    return asked, passed_on


def _run(asked: argparse.Namespace, passed_on: list[str]) -> int:
    _check_snakemake()
    results: Path = asked.directory.absolute()
    checked = checked_table(asked.table, results)
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{results} cannot be made: {error.strerror}. Choose another folder (--directory).") from error
    with _alone_in(results) as held:
        write_pairs(results / PAIRS_FILE, checked.rows, checked.resources)
        _write_config(results / CONFIG_FILE, asked.gpus)
        if asked.retry_failed:
            _forget_failed(checked, results)
        status = _snakemake(results, asked, passed_on, held)
    if status > 128 or _DRY.intersection(passed_on):
        return status
    return _tell(checked, results) or min(status, 1)


def _check_snakemake() -> None:
    if importlib.util.find_spec("snakemake") is not None:
        return
    here = f"Python {sys.version.split()[0]}"
    if sys.version_info[:2] <= _NEWEST_WITHOUT:
        raise InputError(
            f"cryotrans-batch needs Snakemake 9, and that needs Python 3.11 or later; this is {here}. Make an "
            f"environment with a newer Python and install CryoTRANS there: pip install '.[batch]'."
        )
    raise InputError(f"cryotrans-batch needs Snakemake 9, which is not in {here}: pip install 'snakemake>=9'.")


@contextlib.contextmanager
def _alone_in(results: Path) -> Iterator[int]:
    """Keep other calls out of a folder; yields the file number that holds the lock, which Snakemake is to inherit.

    Raises:
        InputError: another call is at work there.
    """
    with open(results / _LOCK_FILE, "a+b") as file:
        if lock.take_lock(file.fileno()) is False:
            raise InputError(f"Another cryotrans-batch is at work in {results}. Wait for it, or choose another folder.")
        yield file.fileno()


def _write_config(path: Path, gpus: int) -> None:
    content = f"pairs: {json.dumps(PAIRS_FILE)}\nchecked: true\ngpus: {gpus}\n"  # JSON is YAML
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        write_atomically(path, content.encode())


def _forget_failed(checked: Checked, results: Path) -> None:
    for row in checked.rows:
        folder = folder_of_pair(results, row.name)
        if outcome_of(row, folder).verdict == "failed":
            remove(folder / RESULT_FILE)


def _snakemake(results: Path, asked: argparse.Namespace, passed_on: Sequence[str], held: int) -> int:
    """Run Snakemake to its end; its exit status."""
    words = ["--snakefile", str(_WORKFLOW / "Snakefile"), "--directory", str(results)]
    words += ["--configfile", str(results / CONFIG_FILE)]
    words += ["--keep-going", "--rerun-incomplete", "--nolock"]  # the folder is locked already
    if asked.profile is not None:
        words += ["--profile", _profile(asked.profile)]
    if asked.cores is not None or asked.profile is None:
        words += ["--cores", asked.cores or "all"]
    if asked.gpus:
        words += ["--resources", f"gpu={asked.gpus}"]
    command = [sys.executable, "-m", "snakemake", *words, *passed_on]
    inherited = () if os.name == "nt" else (held,)
    with subprocess.Popen(command, pass_fds=inherited) as process:
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))  # it waits for its jobs, and ends
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:  # Snakemake has been sent it too, and has its jobs save and end
                continue
    return 128 - status if status < 0 else status


def _profile(name: str) -> str:
    """One that is brought along, unless there is a folder or a file of that name."""
    ours = _WORKFLOW / "profiles" / name
    return str(ours) if not Path(name).exists() and ours.is_dir() else name


def _tell(checked: Checked, results: Path) -> int:
    outcomes = [outcome_of(row, folder_of_pair(results, row.name)) for row in checked.rows]
    bad = [outcome for outcome in outcomes if outcome.verdict in ("failed", "not finished")]
    report = results / BATCH_REPORT
    where = f" The report is {report}." if report.is_file() else ""
    Stream(sys.stderr).line(f"{counts_text(outcomes)}.{where}")
    for outcome in bad[:3]:
        Stream(sys.stderr).line(f"  {outcome.name}: {outcome.said}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(batch_program())
