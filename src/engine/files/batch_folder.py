"""The folder of many pairs, and the table of what became of them.

pairs.csv        the pairs as they were checked, with whole paths
config.yaml      what Snakemake is told
pairs/NAME/      the run of a pair, as run_directory.py lists its files, and
    frames/      its trajectory
    result.json  what became of it; written last
    thumbnail.png
logs/NAME.log, benchmarks/NAME.tsv
table.csv        one line a pair, the best verdicts first
report.html      the same to look at
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .writing import write_atomically

PAIRS_FILE = "pairs.csv"
CONFIG_FILE = "config.yaml"
TABLE_FILE = "table.csv"
BATCH_REPORT = "report.html"
RESULT_FILE = "result.json"
THUMBNAIL = "thumbnail.png"
FRAMES = "frames"
VERDICTS = ("good", "doubtful", "poor", "not judged", "failed", "not finished")  # in the order of tables


class Outcome(NamedTuple):
    """What became of a pair; not a number where it was not measured."""

    name: str
    verdict: str  # one of VERDICTS
    said: str  # the first reason of the verdict, or why it failed
    initial: str  # path
    target: str  # path
    correlation: float  # of generated and target, -1 to 1
    resolution: float  # Å, where their shell correlation falls below 0.5
    distance: float  # Å, root mean square way between the two maps by transport, before training
    motion: float  # Å, rms over the molecule, by the flow
    model_motion: float  # Å, rms over the atoms of the model that rode along
    steps: float
    seconds: float


def folder_of_pair(folder: Path, name: str) -> Path:
    return folder / "pairs" / name


def in_order(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The best verdicts first, among equal ones the highest correlation."""

    def place(outcome: Outcome) -> tuple[int, float]:
        known = not math.isnan(outcome.correlation)
        return VERDICTS.index(outcome.verdict), -outcome.correlation if known else 1.0

    return sorted(outcomes, key=place)


def write_table(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Replace table.csv.

    Raises:
        OSError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Outcome._fields)
    for outcome in outcomes:
        table.writerow(["" if value != value else _text(value) for value in outcome])
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))


def read_table(path: Path) -> list[Outcome]:
    """What `write_table` wrote.

    Raises:
        InputError: it is not there, or is no such file.
    """
    if not path.is_file():
        raise InputError(
            f"There is no {path.name} in {path.parent}: it is no folder of cryotrans-batch, or the batch has not ended."
        )
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        header, *lines = csv.reader(io.StringIO(text, newline=""))
        if tuple(header) != Outcome._fields or any(len(line) != len(header) for line in lines):
            raise ValueError("its columns are not those of this version")
        outcomes = [_outcome(line[:5], [float(word) if word else math.nan for word in line[5:]]) for line in lines]
        if any(outcome.verdict not in VERDICTS for outcome in outcomes):
            raise ValueError("it has a verdict that is none")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({error}). Run cryotrans-batch again, which writes it anew."
        ) from error
    return outcomes


def _outcome(words: list[str], numbers: list[float]) -> Outcome:
    name, verdict, said, initial, target = words
    return Outcome(name, verdict, said, initial, target, *numbers)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
