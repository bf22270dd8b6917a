"""What cryotrans-predict does with atoms (--model, --atoms): read, carried with the map, reported, written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.carrying.atoms import REACH, Atoms, angle_pairs, move_rigidly, read_atoms, rms_change, support
from ..engine.carrying.model_file import (
    Model,
    atom_names,
    bonds_of,
    check_they_fit,
    read_model,
    rigid_groups,
    write_models,
)
from ..engine.errors import InputError, named
from ..engine.files.writing import write_atomically
from ..engine.maps.density_map import DensityMap
from ..engine.options.prediction import PredictionOptions
from .progress import Reporter

Way = Callable[[NDArray[np.float64], Sequence[float]], tuple[NDArray[np.float64], NDArray[np.float64]]]

SUFFIXES = ("_model.cif", "_model.pdb", "_model.csv", "_atoms.npz")  # of what is written, after the prefix


class CarriedAtoms:
    """The atoms of one prediction; `carry` them before anything is written, then `write`."""

    def __init__(self, path: str, atoms: Atoms, model: Model | None) -> None:
        self._path, self._atoms, self.model = path, atoms, model
        self._angles = angle_pairs(atoms.bonds)

    @property
    def n_atoms(self) -> int:
        return len(self._atoms.positions)

    @classmethod
    def read(cls, options: PredictionOptions, reporter: Reporter) -> CarriedAtoms | None:
        """What the options name, or None.

        Raises:
            InputError: it cannot be read, or its rigid pieces are not there.
        """
        if options.model is None:
            if options.rigid is not None:
                raise InputError(
                    f"{named('rigid')} goes with {named('model')}. With {named('atoms')}, give `groups` in the .npz "
                    f"file instead."
                )
            return None if options.atoms is None else cls(options.atoms, read_atoms(options.atoms), None)
        model = read_model(options.model)
        if model.n_left_out:
            reporter.warning(f"{model.name} holds {model.n_left_out + 1} models; the first is carried.")
        groups = None if options.rigid is None else rigid_groups(model, options.rigid)
        try:
            bonds = bonds_of(model)
        except InputError as error:  # each atom can go its way nevertheless
            reporter.warning(f"{error.marked} How its bonds change is not said.")
            bonds = np.empty((0, 2), np.int64)
        return cls(options.model, Atoms(model.positions, bonds, groups), model)

    def look_for_density(self, density_map: DensityMap, level: float, reporter: Reporter) -> None:
        """Tell which atoms lie where the training saw nothing.

        Raises:
            InputError: all of them do.
        """
        self._support = support(self._atoms.positions, density_map, level)
        self._n_outside = int((self._support == 0).sum())
        name, n = Path(self._path).name, len(self._support)
        if self._n_outside == n:
            low, high = (_xyz_text(ends(self._atoms.positions, axis=0)) for ends in (np.min, np.max))
            raise InputError(
                f"No atom of {name} lies within {REACH:g} Å of the density of {density_map.name} above level "
                f"{level:.4g}: the atoms lie from {low} to {high} Å, the map begins at "
                f"{_xyz_text(np.array(density_map.origin))} Å. Fit the model into the map first."
            )
        if self._n_outside:
            where = "the column support of the .csv file" if self.model else "the array support of the .npz file"
            reporter.warning(
                f"{self._n_outside} of {n} atoms of {name} lie farther than {REACH:g} Å from all density of "
                f"{density_map.name} above level {level:.4g}: the training saw nothing there, and their way is a "
                f"guess. They have 0 in {where}."
            )

    def carry(self, way: Way, times: Sequence[float]) -> None:
        """Take the atoms along a way: (positions, times) → positions (n_frames, n, 3) and residuals (n,), in Å.

        Raises:
            InputError: they come to lie where the file's format has no place for them.
        """
        before = self._atoms.positions
        frames, self._residuals = way(before, times)
        if self._atoms.groups is not None:
            frames = np.stack([move_rigidly(before, after, self._atoms.groups) for after in frames])
        if self.model is not None:
            check_they_fit(self.model, frames)
        self._frames, self._times = frames, np.array(times)
        pairs = {"bond_deviation": self._atoms.bonds, "angle_deviation": self._angles}
        self._report = {name: [rms_change(some, before, after) for after in frames] for name, some in pairs.items()}

    def write(self, directory: Path, prefix: str, reverse: bool, reporter: Reporter) -> dict[str, Any]:
        """Write the files and say what was written; in the order of the frames' numbers.

        Raises:
            OSError: a file cannot be written.
        """
        from ..engine.carrying.prediction import CLOSE_ENOUGH

        order = slice(None, None, -1 if reverse else 1)
        report = {name: values[order] for name, values in self._report.items()}
        if self.model is None:
            path = directory / f"{prefix}_atoms.npz"
            write_atomically(path, self._arrays(order, report))
        else:
            path = directory / f"{prefix}_model{self.model.suffix}"
            write_models(path, self.model, self._frames[order])
            with reporter.doing_without(path.with_suffix(".csv").name):
                write_atomically(path.with_suffix(".csv"), _table(self.model, self._support))
        n_frames, n_atoms = self._frames.shape[:2]
        unsolved = int((~(self._residuals <= CLOSE_ENOUGH)).sum())
        if unsolved:
            reporter.warning(
                f"For {unsolved} of {n_atoms} atoms no place was found that the flow brings to within "
                f"{CLOSE_ENOUGH:g} Å of them; the largest distance left is {self._residuals.max():.3g} Å."
            )
        reporter.note(f"{n_atoms} atoms in {n_frames} frames are in {path.name}. {_geometry_text(report)}".strip())
        return {"path": str(path.absolute()), "n_atoms": n_atoms, "n_outside": self._n_outside, **report}

    def _arrays(self, order: slice, report: dict[str, list[float | None]]) -> bytes:
        buffer = io.BytesIO()
        deviations = {name: np.array(values, np.float64) for name, values in report.items()}  # None becomes nan
        coordinates = self._frames[order, :, ::-1].astype(np.float32)
        np.savez(buffer, coordinates=coordinates, times=self._times[order], support=self._support, **deviations)
        return buffer.getvalue()


def _table(model: Model, inside: NDArray[np.float32]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["chain", "residue", "residue_name", "atom", "altloc", "support"])
    rows.writerows((*names, f"{value:.3f}") for names, value in zip(atom_names(model), inside.tolist()))
    return text.getvalue().encode()


def _geometry_text(report: dict[str, list[float | None]]) -> str:
    """How bonds fare, in words, or "" where there are none."""
    said = []
    for name, words in (("bond_deviation", "bond lengths"), ("angle_deviation", "distances across one atom")):
        values = [value for value in report[name] if value is not None]
        if values:
            worst = max(values)
            said.append(f"{words} by {worst:.3f} Å rms (frame {report[name].index(worst)})")
    return f"They change {' and '.join(said)} at most." if said else ""


def _xyz_text(place: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in place[::-1])
