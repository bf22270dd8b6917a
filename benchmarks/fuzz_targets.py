"""What is fuzzed: the reader of each target, how its files are made of bytes, and what to begin with."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import fuzz_inputs as inputs
import numpy as np
import readers
import readers_of_app

from chimerax.cryotrans.engine.judging.domain_table import DomainRow
from chimerax.cryotrans.engine.judging.measures import Measures


class Target(NamedTuple):
    """One kind of file.

    Attributes:
        says: what it is, for the table.
        reader: that takes the files.
        make: from the first byte of an input, the rest, and what draws from the rest, to a file.
        seeds: inputs to begin with.
    """

    says: str
    reader: readers.Reader
    make: Callable[[int, bytes, Any], bytes]
    seeds: Callable[[], list[bytes]]


def _drawn() -> list[bytes]:
    """For files that are edits of a good one."""
    chance = np.random.default_rng(0)
    return [bytes([how]) + chance.bytes(60) for how in range(64)]


def _of(*contents: bytes) -> Callable[[], list[bytes]]:
    return lambda: [bytes([how]) + content for how in range(4) for content in contents] + _drawn()


@functools.cache
def _run_json() -> dict[str, Any]:
    described = {"path": "/nowhere/a.mrc", "sha256": "0" * 64, "level": 0.2, "name": "a.mrc"}
    described |= {"grid_shape": [8, 8, 8], "voxel_size": [4.0, 4.0, 4.0], "origin": [0.0, 0.0, 0.0]}
    return {
        "program": "CryoTRANS for ChimeraX",
        "command": ["train"],
        "state": "stopped",
        "step": 5,
        "n_steps": 20,
        "options": readers.small_options().to_dict(),
        "weights_from": None,
        "initial": described,
        "target": described,
        "targets": [described, described],
        "legs": ["leg_1", "leg_2"],
        "arguments": {"depth": 2},
        "reports": True,
        "validation": described,
        "masks": {"initial": described, "target": {"found": "belt"}},
        "half_maps": [described, described],
        "segments": described,
        "ceiling": None,
        "n_points": 10,
        "device": {"asked": "auto", "gpu": None, "used": "cpu"},
        "started": "2026-11-27T00:00:00+00:00",
        "seconds": 0.5,
        "files": ["run.json", "net.pt", "net_1.pt"],
        "checkpoints": {"5": "net_1.pt"},
        "best": {"step": 5, "weights": "net_1.pt"},
        "verdict": {"word": "good", "reasons": ["It is."], "advice": ["Look."]},
        "without_partner": [{"of": "initial", "share": 0.1, "centre": [0, 0, 0], "text": "A part."}],
        "notes": ["Step 0: coarse, 10 points."],
        "warnings": ["A."],
        "loss": 0.1,
        "mass_outside": 0.0,
    }


def _domains_json() -> dict[str, Any]:
    row = DomainRow(1, 0.6, (1.0, 2.0, 3.0), 0.1, None, 20.0, (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 0.5, None)
    other = row._replace(domain=2, relative_to=1, hinge=(1.0, 1.0, 1.0))
    return {"unit": "Å", "domains": [row._asdict(), other._asdict()]}


def _models_json() -> dict[str, Any]:
    model = {"name": "A", "path": "/nowhere/a.mrc"}
    return {"initial": model, "between": [model], "target": {"name": "B", "path": None}}


_METRICS = (",".join(Measures._fields) + "\n" + ",".join(["5", *["0.5"] * (len(Measures._fields) - 1)]) + "\n").encode()
_MESSAGES = [
    {"event": "start", "directory": "/nowhere", "device": "cpu", "n_points": 9, "step": 0, "n_steps": 20, "period": 5},
    {"event": "step", "step": 3, "loss": 0.1, "seconds": 1.5, "seconds_left": 20.0, "leg": 1, "n_legs": 2},
    {"event": "checkpoint", "step": 5, "loss": 0.1, "seconds": 1.5, "weights": "/nowhere/net_1.pt", "mass_outside": 0}
    | {"correlation": 0.9, "resolution": 8.0, "transport_distance": 0.1, "strain": 0.1, "folded": 0.0},
    {"event": "note", "text": "A note on --lr.", "marked": "A note on \ue000learning_rate\ue001."},
    {"event": "warning", "text": "initial.mrc is odd (in ChimeraX: volume scale #1 factor -1)."},
    {"event": "end", "state": "finished", "text": "Done.", "directory": "/nowhere", "weights": "/nowhere/net.pt"}
    | {"step": 20, "n_steps": 20, "loss": 0.1, "seconds": 2.0, "mass_outside": 0.01, "leg": 1, "n_legs": 1}
    | {"best": {"step": 5, "weights": "net_1.pt"}, "verdict": {"word": "good", "reasons": ["It."], "advice": ["Do."]}},
    {"event": "start", "directory": "/nowhere", "device": "cpu", "n_frames": 2},
    {"event": "frame", "path": "/nowhere/frame_00.mrc", "number": 0, "time": 0.0},
    {"event": "end", "state": "finished", "text": "Done.", "directory": "/nowhere", "files": [], "mass_outside": 0.0}
    | {"atoms": {"path": "a.npz", "n_atoms": 3, "n_outside": 1, "bond_deviation": [0.0, None], "angle_deviation": [1]}},
    {"event": "error", "text": "No."},
]


def _lines(how: int, rest: bytes, data: Any) -> bytes:
    if how % 8 == 0:
        return rest
    messages = inputs.edited(_MESSAGES, data, inputs.odd_json)
    return b"".join(json.dumps(each).encode(errors="surrogatepass") + b"\n" for each in messages)


_PDB = readers.small_model().encode()
_CIF = (
    b"data_a\nloop_\n_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_atom_id\n_atom_site.label_comp_id\n"
    b"_atom_site.auth_asym_id\n_atom_site.auth_seq_id\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n"
    b"1 C CA ALA A 1 0.5 1 2\n2 N N GLY A 2 1.5 'a' 2\n"
)
_ATOMS = {"coordinates": np.zeros((3, 3)), "bonds": np.array([[0, 1], [1, 2]]), "groups": np.array([0, 0, -1])}
_MOTION = {"start": np.zeros((3, 3)), "end": np.ones((3, 3))}
_CARRIED = {"coordinates": np.zeros((2, 3, 3), np.float32), "support": np.ones(3, np.float32)}
_R, _A = readers.READERS, readers_of_app.READERS

TARGETS = {
    "map": Target("maps, MRC and CCP4, plain or packed", _R["map"], inputs.map_file, _of(inputs.good_map())),
    "labels": Target("maps of segments", _R["labels"], inputs.map_file, _of(inputs.good_map())),
    "weights": Target("weights, `net.pt`", _R["weights"], inputs.torch_file(inputs.good_weights), _drawn),
    "state": Target("state, `state.pt`", _R["state"], inputs.torch_file(inputs.good_states), _drawn),
    "run": Target("`run.json`, in the programs", _R["run"], inputs.json_file(_run_json), _drawn),
    "listed": Target("`run.json`, in ChimeraX", _A["listed"], inputs.json_file(_run_json), _drawn),
    "metrics": Target("`metrics.csv`", _R["metrics"], inputs.as_it_is, _of(_METRICS)),
    "fsc": Target("`fsc.csv`", _R["fsc"], inputs.as_it_is, _of(b"step,0.1,0.2\n5,1,0.5\n")),
    "losses": Target("`loss.log`", _R["losses"], inputs.as_it_is, _of(b"1.0e-01\n2e-3\n")),
    "domains": Target("`domains.json`", _R["domains"], inputs.json_file(_domains_json), _drawn),
    "names": Target("`models.json`, in the report", _R["names"], inputs.json_file(_models_json), _drawn),
    "models": Target("`models.json`, in ChimeraX", _A["models"], inputs.json_file(_models_json), _drawn),
    "npz": Target("atoms, `.npz` and `.npy`", _R["npz"], inputs.npz_file(lambda: _ATOMS), _drawn),
    "motion": Target("`motion.npz`", _A["motion"], inputs.npz_file(lambda: _MOTION), _drawn),
    "carried": Target("carried atoms, `.npz`", _A["carried"], inputs.npz_file(lambda: _CARRIED), _drawn),
    "pdb": Target("models, PDB", _R["pdb"], inputs.packed_text, _of(_PDB)),
    "cif": Target("models, mmCIF", _R["cif"], inputs.packed_text, _of(_CIF)),
    "zones": Target("zones of `--rigid`", _R["zones"], inputs.as_it_is, _of(b"A:5;A:52-53", b"chain", b"A:-1")),
    "progress": Target("progress lines of a worker", _A["progress"], _lines, _drawn),
}
