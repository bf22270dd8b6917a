"""A structure that rides along a flow: its atoms, to the worker and back, as coordinate sets of a copy.

Two frames are told apart.  In the scene, where models are displayed, the atoms lie in the map.  The worker has the map
as its file has it: its place is the header's, without what the model was moved by, and so are the atoms' x, y, z, in Å.
The copy lies as the series does, with coordinates in that frame, so that a file saved of it fits the files of the
frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from chimerax.atomic import Atom, StructuresArg
from chimerax.core.commands import Annotation, AnnotationError
from chimerax.core.errors import UserError
from chimerax.geometry import Place, scale, translation
from chimerax.map import Volume
from chimerax.map_series import MapSeries

from ..engine.carrying.atoms import REACH, support
from ..engine.files.array_file import read_arrays
from ..engine.maps.density_map import DensityMap
from ..engine.maps.mrc_file import read_map
from .in_step import keep_in_step
from .volumes import index_to_scene, model_text

FILE = "initial_atoms.npz"  # what the worker gets, beside the map
RIGID = ("residue", "chain")
ATTRIBUTE, CONFIDENCE = "cryotrans_support", "cryotrans_confidence"


class StructureToCarryArg(Annotation):
    """One open structure, of atoms or of markers."""

    name = "an atomic structure"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[Any, str, str]:
        structures, used, rest = StructuresArg.parse(text, session)
        if len(structures) != 1:
            raise AnnotationError(
                f"“{used}” names {len(structures)} atomic structures; one is wanted, and it is named as “#5”"
            )
        return structures[0], used, rest


class Riders:
    """The atoms of a structure, as they lie in a map when they are asked to come along.

    Attributes:
        structure: theirs.
        name: the structure, as messages name it.
    """

    def __init__(self, structure: Any, initial: Volume, rigid: str | None = None) -> None:
        """
        Args:
            structure: an open structure.
            initial: the map which it fits, as both are displayed.
            rigid: one of RIGID, what moves as one body; None for nothing.
        """
        self.structure, self.name = structure, model_text(structure)
        self._atoms = structure.atoms  # ChimeraX takes out of it what is deleted
        self._n = len(self._atoms)
        self._rigid = rigid
        to_file = _to_file(initial.data) * index_to_scene(initial).inverse()
        self._positions = to_file * np.array(self._atoms.scene_coords, np.float64)  # (n, 3) x, y, z

    def look_for_density(self, density_map: DensityMap, level: float, initial: Volume) -> None:
        """Refuse atoms none of which the training can have seen.

        Args:
            density_map: of `initial`.
            level: map units, above which the training saw it.
            initial: the map, for the message.
        Raises:
            UserError: there are no atoms, or they lie elsewhere.
        """
        if self._n == 0:
            raise UserError(f"{self.name} has no atoms. Give the structure that fits {model_text(initial)}.")
        if not support(self._positions[:, ::-1], density_map, level).any():
            structure_id, map_id = self.structure.id_string, initial.id_string
            raise UserError(
                f"No atom of {self.name} lies within {REACH:g} Å of the density of {model_text(initial)} above level "
                f"{level:.4g}, as they are displayed. Fit it first, as with fitmap #{structure_id} inMap #{map_id}."
            )

    def write(self, path: Path) -> None:
        """Write what the worker's --atoms takes (docs/progress.md).

        Raises:
            OSError: it cannot be written.
        """
        pairs = self.structure.bonds.atoms
        bonds = np.stack([self._atoms.indices(end) for end in pairs], axis=1)
        arrays = {"coordinates": self._positions, "bonds": bonds.astype(np.int64)}
        residues = self._atoms.residues
        if self._rigid == "residue":
            arrays["groups"] = self.structure.residues.indices(residues).astype(np.int64)
        elif self._rigid == "chain":
            arrays["groups"] = np.unique(residues.chain_ids.astype(str), return_inverse=True)[1]
        np.savez(path, **arrays)

    def open(self, session: Any, series: MapSeries, path: Path, confidence: Path | None = None) -> Any:
        """Open a copy of the structure with a coordinate set for each frame, in step with a series.

        Args:
            session: the ChimeraX session.
            series: of the frames that the atoms were carried with, open.
            path: what the worker wrote.
            confidence: the run's map of how far to believe it, where there is one.
        Returns:
            The copy, in the session; the original is hidden.
        Raises:
            UserError: the structure has been closed, or has other atoms now, or the file is damaged.
        """
        structure = self.structure
        again = "Its atoms were carried, but cannot be opened; type the command again."
        if structure.deleted:
            raise UserError(f"{self.name} has been closed meanwhile. {again}")
        if not len(self._atoms) == self._n == structure.num_atoms:
            raise UserError(f"{self.name} has got or lost atoms meanwhile. {again}")
        coordinates, inside = read_carried(path)
        n_frames = series.number_of_times()
        if coordinates.shape != (n_frames, self._n, 3):
            raise UserError(f"{path} is not that of {self._n} atoms in {n_frames} frames. Type the command again.")

        copy = structure.copy(f"{structure.name} carried")
        copy.delete_alt_locs()  # the atoms of others than those shown do not move with coordinate sets
        atoms = copy.atoms[structure.atoms.indices(self._atoms)]
        data = series.maps[0].data
        to_series = data.ijk_to_xyz_transform * _to_file(data).inverse()
        frames = np.zeros((n_frames, copy.coordset_size, 3))  # longer than the atoms where some were deleted
        for frame, positions in zip(frames, coordinates):
            frame[atoms.coord_indices] = to_series * positions.astype(np.float64)
        _replace_coordsets(copy, frames, structure.atoms)
        copy.position = series.scene_position
        Atom.register_attr(session, ATTRIBUTE, "CryoTRANS", attr_type=float)
        for atom, value in zip(atoms, inside.tolist()):
            setattr(atom, ATTRIBUTE, value)
        if confidence is not None and confidence.is_file():
            Atom.register_attr(session, CONFIDENCE, "CryoTRANS", attr_type=float)
            for atom, value in zip(atoms, self._sampled(confidence).tolist()):
                setattr(atom, CONFIDENCE, value)
        copy.display = True
        structure.display = False
        session.models.add([copy])
        keep_in_step(session, series, copy)
        return copy

    def _sampled(self, path: Path) -> np.ndarray:
        """The values of a map of the run where the atoms start, (n,); 0 outside of it."""
        values = read_map(path)
        places = (self._positions[:, ::-1] - np.array(values.origin)) / np.array(values.voxel_size)
        nearest = np.rint(places).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < values.density.shape)).all(axis=1)
        found = np.zeros(self._n)
        found[inside] = values.density[tuple(nearest[inside].T)]
        return found

    def in_words(self, text: str) -> str:
        """What the worker says, with the structure's name in place of its file's."""
        said = text.replace("the array support of the .npz file", f"the attribute {ATTRIBUTE}")
        return said.replace(FILE, self.name)


def read_carried(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n_frames, n, 3), x, y, z in Å, and support (n,) of the atoms that a worker has carried.

    Raises:
        UserError: the file is damaged.
    """
    try:
        arrays = read_arrays(path)
        coordinates, inside = (
            arrays[key].astype(np.float32, casting="same_kind") for key in ("coordinates", "support")
        )
        if not np.isfinite(coordinates).all() or inside.shape != coordinates.shape[1:2]:
            raise ValueError("positions that are not numbers, or not of as many atoms")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Type the command again.") from error
    return coordinates, inside


def _replace_coordsets(structure: Any, frames: np.ndarray, originals: Any) -> None:
    """Give a structure these coordinate sets, (n, n_coordinates, 3), and show the first.

    ChimeraX keeps B-factors and occupancies with each coordinate set, and those of new ones are 0 and 1.  They are
    taken from the atoms that were copied, as a copy shows alternate locations of its own choice.
    """
    atoms = structure.atoms
    bfactors, occupancies = np.array(originals.bfactors), np.array(originals.occupancies)
    structure.add_coordsets(frames, replace=True)
    for coordset_id in structure.coordset_ids[::-1]:
        structure.active_coordset_id = coordset_id
        atoms.bfactors = bfactors
        if (occupancies != 1).any():
            atoms.occupancies = occupancies


def _to_file(data: Any) -> Place:
    """What takes a voxel's index (x, y, z) to its place as the map's file has it (x, y, z), Å: without rotation."""
    return translation(data.origin) * scale(data.step)
