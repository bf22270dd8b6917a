"""The two files that keep the measures of a run's checkpoints.

metrics.csv    a header line with the names, then one line a checkpoint; what was not taken is left empty
fsc.csv        "step" and the frequencies of the shells in 1/Å, then one line a checkpoint: step, correlations
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, first_line
from ..files.writing import write_atomically
from .measures import Measures

METRICS_FILE = "metrics.csv"
FSC_FILE = "fsc.csv"


def write_metrics(path: Path, rows: Iterable[Measures]) -> None:
    """Replace metrics.csv.

    Raises:
        OSError: it cannot be written.
    """
    _write(path, Measures._fields, rows)


def read_metrics(path: Path) -> list[Measures]:
    """What `write_metrics` wrote.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    header, rows = _read(path)
    if tuple(header) != Measures._fields:
        raise InputError(f"{path} is no {METRICS_FILE} of this version: its first line names other measures.")
    return [Measures(int(row[0]), *row[1:]) for row in rows]


def write_fsc(
    path: Path, frequencies: NDArray[np.float64], curves: Iterable[tuple[int, Sequence[float] | NDArray[np.float64]]]
) -> None:
    """Replace fsc.csv.

    Args:
        path: the file.
        frequencies: (n_shells,), 1/Å.
        curves: the step and (n_shells,) correlations of each checkpoint.
    Raises:
        OSError: it cannot be written.
    """
    header = ["step", *(_text(frequency) for frequency in frequencies)]
    _write(path, header, ((step, *values) for step, values in curves))


def read_fsc(path: Path) -> tuple[NDArray[np.float64], list[tuple[int, NDArray[np.float64]]]]:
    """Frequencies and curves, as `write_fsc` wrote them.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    header, rows = _read(path)
    try:
        frequencies = np.array([float(word) for word in header[1:]])
    except ValueError as error:
        raise _damaged(path, error) from error
    return frequencies, [(int(row[0]), np.array(row[1:])) for row in rows]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([str(int(row[0])), *(_text(value) for value in row[1:])] for row in rows)
    write_atomically(path, text.getvalue().encode(), durable=False)  # a run goes on without them


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"


def _read(path: Path) -> tuple[list[str], list[list[float]]]:
    """The first line, and the numbers of the others, as many in each."""
    try:
        header, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
        rows = [[float(word) if word else math.nan for word in line] for line in lines]
        if not header or any(len(row) != len(header) or not float(row[0]).is_integer() for row in rows):
            raise ValueError("a line has not the numbers that the first one names")
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from error
    return header, rows


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read ({first_line(error)}). Remove it, or start afresh in another directory.")
