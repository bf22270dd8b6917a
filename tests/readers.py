"""What the programs read that others may have made, each by the reader that they use: for tests and for the fuzzer.

A reader is given a file and either takes its content in, which is checked for what the rest of the program relies on,
or raises an InputError of one sentence or two.  Any other error is a fault.
"""

from __future__ import annotations

import atexit
import functools
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gemmi
import numpy as np
import torch

from chimerax.cryotrans.engine.carrying.atoms import read_atoms
from chimerax.cryotrans.engine.carrying.model_file import atom_names, bonds_of, read_model, rigid_groups
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.files.run_directory import RunDirectory
from chimerax.cryotrans.engine.flow.checkpoint import load_state, load_weights
from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.judging.domain_table import read_rows
from chimerax.cryotrans.engine.judging.tables import read_fsc, read_metrics
from chimerax.cryotrans.engine.maps.density_map import DensityMap, grid_text
from chimerax.cryotrans.engine.maps.mrc_file import read_map
from chimerax.cryotrans.engine.maps.preparation import prepare
from chimerax.cryotrans.engine.maps.segments import segments_of_map
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.training.recipe import AutoTraining
from chimerax.cryotrans.engine.training.training import Training
from chimerax.cryotrans.programs import legs, pair, prediction, training
from chimerax.cryotrans.programs.report.contents import names_of_models, read_losses

_CPU = torch.device("cpu")


class Reader(NamedTuple):
    """How one kind of file is read.

    Attributes:
        name: of the file.
        read: takes its path.
    """

    name: str
    read: Callable[[Path], object]


@functools.cache
def scratch() -> Path:
    """A folder for files that are made on the way; it goes with the process."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def a_map(path: Path) -> DensityMap:
    found = read_map(path)
    assert found.density.dtype == np.float32 and np.isfinite(found.density).all() and min(found.grid_shape) > 1
    assert min(found.voxel_size) > 0 and np.isfinite(found.origin).all() and grid_text(found)
    return found


def labels(path: Path) -> object:
    """A map of segments, for a map of the same grid."""
    found = a_map(path)
    return segments_of_map(found, found)


def weights(path: Path) -> object:
    field = load_weights(path)
    points = torch.rand((5, 3), generator=torch.Generator().manual_seed(0))
    assert field.at(points)(points).shape == (5, 3)
    return field


@functools.cache
def small_maps() -> tuple[DensityMap, DensityMap]:
    axes = np.indices((8, 8, 8)) - 3.5
    density = np.exp(-(axes**2).sum(axis=0) / 6).astype(np.float32)
    return tuple(DensityMap(np.roll(density, shift, 2), (4.0, 4.0, 4.0), name=f"{shift}.mrc") for shift in (0, 1))


def small_options(**more: Any) -> TrainingOptions:
    said = {"n_steps": 20, "period": 5, "initial_level": 0.2, "target_level": 0.2, "depth": 2, "width": 4, "seed": 0}
    return TrainingOptions(**{**said, **more})


@functools.cache
def small_training(recipe: str) -> Training | AutoTraining:
    """One that each state is restored into: nothing of an earlier state may be left."""
    if recipe == "auto":
        options = small_options(n_steps=None, recipe="auto", flow="auto", n_domains=3)
        return AutoTraining(*small_maps(), options, 0.0, None, _CPU)
    made = prepare(*small_maps(), 0.2, 0.2, 1)
    return Training(made, small_options(), VelocityField(2, 4, 0), _CPU)


def state(path: Path) -> object:
    """The state of a run of either recipe, and the first step from it."""
    found = load_state(path)
    trained = small_training("auto" if "stage" in found else "cryotrans")
    trained.restore(found)
    trained.evaluate()
    trained.update()
    _ = trained.losses
    return trained.state()


def run(path: Path) -> object:
    """What resuming, predicting and overwriting make of a run.json."""
    folder = RunDirectory(path.parent)
    content = folder.read()
    prediction._level_of_the_training(_Carried(), small_maps()[0], content)
    prediction._warn_of_another_grid(path, content, small_maps()[0], _Silent())
    prediction._on_the_grid_of_the_training(small_maps()[0], content, _Silent())
    said = {"seed": 1, "n_steps": 30, "device": "auto", "gpu": None, "resume": True}
    for ask in (
        lambda: folder.check_free(overwrite=True),
        folder.flow,
        lambda: folder.weights("last"),
        lambda: _resumed(folder, content, said),
        lambda: legs._Legs(folder, content, said, [], _Silent(), False)._check_it_says_enough(),
    ):
        try:
            ask()
        except InputError as error:
            assert str(error).strip().endswith((".", "?", "DIR")), str(error)
    return content


def _resumed(folder: RunDirectory, content: dict[str, Any], said: dict[str, Any]) -> None:
    """As far as a run of one flow is looked at before its maps are read."""
    options = training._recorded_options(folder, content)
    training._check_same_run(content, options, said)
    pair.segments_of_run(content)
    pair.half_maps_of_run(content, {})
    training._validation_of_run(content, {})
    pair.map_of_run("initial", content, {})


class _Carried:
    inverse, initial_level = False, 0.2


class _Silent:
    def warning(self, text: str) -> None:
        text.encode(errors="backslashreplace")

    note = warning


def metrics(path: Path) -> object:
    rows = read_metrics(path)
    assert all(isinstance(row.step, int) for row in rows)
    return rows


def fsc(path: Path) -> object:
    frequencies, curves = read_fsc(path)
    assert all(len(curve) == len(frequencies) for _, curve in curves)
    return curves


def losses(path: Path) -> object:
    return [math.isfinite(loss) for loss in read_losses(path)]


def domains(path: Path) -> object:
    return [(row.turn_text(), row.shift_text(), row.axis_text(), row.hinge_text()) for row in read_rows(path)]


def names(path: Path) -> object:
    """models.json of a run's maps."""
    return names_of_models(RunDirectory(path.parent.parent))


def atoms(path: Path) -> object:
    found = read_atoms(path)
    assert np.isfinite(found.positions).all() and found.positions.shape[1:] == (3,)
    return found


def model(path: Path) -> object:
    found = read_model(path)
    assert np.isfinite(found.positions).all() and len(found.chains) == len(found.positions) == len(atom_names(found))
    return found, bonds_of(found), rigid_groups(found, "residue"), rigid_groups(found, "chain")


@functools.cache
def small_model() -> Any:
    structure = gemmi.Structure()
    chain = gemmi.Chain("A")
    for number in (-1, 5, 52, 53):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(number, 0, 0)
        residue.add_atom(atom)
        chain.add_residue(residue)
    structure.add_model(gemmi.Model("1"))
    structure[0].add_chain(chain)
    return structure.make_pdb_string()


def zones(path: Path) -> object:
    """The text of --rigid, kept in a file."""
    beside = path.with_name("of_zones.pdb")
    if not beside.exists():
        beside.write_text(small_model())
    return rigid_groups(_model_of(str(beside)), path.read_bytes().decode(errors="surrogateescape"))


@functools.cache
def _model_of(path: str) -> Any:
    return read_model(path)


READERS = {
    "map": Reader("a.mrc", a_map),
    "labels": Reader("a.mrc", labels),
    "weights": Reader("net.pt", weights),
    "state": Reader("state.pt", state),
    "run": Reader("run.json", run),
    "metrics": Reader("metrics.csv", metrics),
    "fsc": Reader("fsc.csv", fsc),
    "losses": Reader("loss.log", losses),
    "domains": Reader("domains.json", domains),
    "names": Reader("maps/models.json", names),
    "npz": Reader("a.npz", atoms),
    "pdb": Reader("a.pdb", model),
    "cif": Reader("a.cif", model),
    "zones": Reader("zones.txt", zones),
}
