"""A table of pairs, and what it says of each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...engine.errors import InputError, worded
from ...engine.files.writing import write_atomically
from .columns import COLUMNS, MEMORY, MINUTES, NAME, Column, column_of, titled, value_of

_NAME = re.compile(r"\w([\w.+-]*[\w+-])?")  # of a folder; Windows wants none that ends in a dot
_LONGEST_NAME = 100
_DEFAULTS = {"recipe": "auto", "seed": 0}  # a pair that is begun again must come to the same end


class Faults(NamedTuple):
    """What is wrong with a table: lines and sentences."""

    found: list[tuple[int, str]]

    def add(self, line: int, error: InputError | str) -> None:
        self.found.append((line, error if isinstance(error, str) else worded(error.marked, titled)))


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        line: its number in the file.
        name: of the pair.
        cells: as they stand, by the keys of COLUMNS; whole paths.
        training, prediction: what the programs are told, by the names of the options.
        faulty: options whose cells could not be read.
    """

    line: int
    name: str
    cells: dict[str, str]
    training: dict[str, Any]
    prediction: dict[str, Any]
    faulty: tuple[str, ...] = ()

    def missing(self, option: str) -> bool:
        """Whether the line does not say it; what it says wrong is told otherwise."""
        return option not in self.training and option not in self.faulty


def read_lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The lines of a table that are not empty: number and cells, by the keys of COLUMNS.

    Raises:
        InputError: it cannot be read, or its first line does not name columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"There is no table {path}: check its name and folder.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is no table: wanted is text in UTF-8 with commas between its columns.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}. Quotation marks open and close a cell.") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise InputError(
            f"{path} is empty. Its first line names the columns: initial,target,initial level,target level."
        )
    keys = [_key(title) for title in lines[0][1]]
    if len(set(keys)) < len(keys):
        twice = next(title for title, key in zip(lines[0][1], keys) if keys.count(key) > 1)
        raise InputError(f"{path} has two columns “{twice}”: leave one of them out.")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(keys):
            text = (
                f"it has {len(cells)} cells for {len(keys)} columns: put a cell that holds a comma into quotation marks"
            )
            raise InputError(f"{path}, line {number}: {text}.")
        rows.append((number, dict(zip(keys, cells))))
    if not rows:
        raise InputError(f"{path} holds no pairs below the line that names its columns.")
    return rows


def _key(title: str) -> str:
    column = column_of(title)
    return next(key for key, other in COLUMNS.items() if other is column)


def row_of(line: int, cells: Mapping[str, str], folder: Path, faults: Faults) -> Row:
    """What a line says; what is wrong with single cells goes to `faults`.

    Args:
        folder: from which relative paths lead.
    """
    training: dict[str, Any] = dict(_DEFAULTS)
    prediction: dict[str, Any] = {}
    written: dict[str, str] = {}
    faulty = list[str]()
    for key, text in cells.items():
        column = COLUMNS[key]
        try:
            value = value_of(column, text, folder)
        except InputError as error:
            faults.add(line, error)
            faulty.append(column.option)
            continue
        if value is None:
            continue
        written[key] = _written(column, text, value)
        if column.trains:
            training[column.option] = value
        if column.predicts:
            prediction[column.option] = value
    name = written.get(NAME) or _name_by_maps(training)
    if name and not (_NAME.fullmatch(name) and len(name) <= _LONGEST_NAME):
        faults.add(line, f"The name {name!r} must be the name of a folder: letters, digits, and . _ + - between them.")
    return Row(line, name, {**written, NAME: name}, training, prediction, tuple(faulty))


def _written(column: Column, text: str, value: Any) -> str:
    if column.about is None or column.about.kind not in ("file", "folder"):
        return text
    return ";".join(value) if isinstance(value, list) else value


def _name_by_maps(training: Mapping[str, Any]) -> str:
    stems = [_stem(training[key]) for key in ("initial_map", "target_map") if key in training]
    return "_to_".join(stems)[:_LONGEST_NAME].rstrip(".")


def _stem(path: str) -> str:
    stem = re.sub(r"\.(mrc|map|ccp4|rec)(\.gz|\.bz2)?$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.+-]+", "_", stem).strip("._+-") or "map"


def pair_named(table: Path, name: str) -> Row:
    """The row of a table that was checked.

    Raises:
        InputError: there is none of this name, or the table was changed by hand.
    """
    faults = Faults([])
    for line, cells in read_lines(table):
        if cells.get(NAME) == name:
            row = row_of(line, cells, table.parent, faults)
            break
    else:
        raise InputError(f"There is no pair named {name} in {table}.")
    if faults.found:
        raise InputError(f"{table}, line {faults.found[0][0]}: {faults.found[0][1]}")
    return row


def write_pairs(path: Path, rows: Iterable[Row], resources: Sequence[tuple[int, int]]) -> None:
    """Write the table as it was checked, unless the file says the same already.

    Args:
        resources: of each pair, memory in MB and minutes, where the table does not say them.
    Raises:
        OSError: it cannot be written.
    """
    rows = list(rows)
    keys = [key for key in COLUMNS if key in {NAME, MEMORY, MINUTES}.union(*(row.cells for row in rows))]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([COLUMNS[key].title for key in keys])
    for row, (memory, minutes) in zip(rows, resources):
        cells = {MEMORY: str(memory), MINUTES: str(minutes), **row.cells}
        table.writerow([cells.get(key, "") for key in keys])
    content = text.getvalue().encode()
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
