"""The options of a prediction: what a call of its program says.  As in training.py, each stands here once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .call import CallOptions
from .choices import CONDITIONING, INTEGRATORS
from .option import Option, check_each, option, options_of


@dataclass(frozen=True)
class PredictionOptions(CallOptions):
    """What a call of the prediction program says."""

    initial_map: str = option("", "file", "-i", "--initial-map", metavar="MAP", help="the map to carry (required)")
    initial_level: float = option(
        *(0.0, float, "-t", "--initial-threshold"),
        keyword="level",
        metavar="LEVEL",
        help="its contour level (default: 0)",
    )
    conditioning: str | None = option(
        *(None, str, "--conditioning"),
        spoken="conditioning",
        choices=CONDITIONING,
        help="auto: of a noisy map only the molecule is carried, in a soft mask; off: all that is above the level "
        "(default: as in the training)",
    )
    directory: str = option(
        *("", "folder", "-d", "--directory"),
        keyword="directory",
        metavar="DIR",
        help="directory for the frames, made if missing (required)",
    )
    prefix: str = option(
        *("frame", "file", "-p", "--prefix"),
        metavar="NAME",
        help="files are NAME_00.mrc, NAME_01.mrc, ... (default: frame)",
    )
    weight: str | None = option(
        *(None, "file", "-w", "--weight"),
        keyword="weights",
        metavar="FILE",
        help="weights that training wrote, such as net.pt",
    )
    no_report: bool = option(False, bool, "--no-report", help="no report.html beside the frames")
    run: str | None = option(
        *(None, "folder", "--run"),
        keyword="run",
        metavar="DIR",
        help="instead of -w: the directory of the training",
    )
    checkpoint: str | None = option(
        *(None, str, "--checkpoint"),
        keyword="checkpoint",
        metavar="WHICH",
        help="of --run: best (default), last, or K for net_K.pt",
    )
    depth: int | None = option(None, int, "--depth", help="not needed: read off the weights")
    width: int | None = option(None, int, "--width", help="not needed: read off the weights")
    frames: int | None = option(
        *(None, int, "--frames"),
        keyword="frames",
        spoken="number of frames",
        least=2,
        most=10_000,
        help="number of frames from one end to the other, evenly in time (default: 11; with several targets 10 a leg "
        "and 1). Every conformation has a frame of its own if N - 1 is a multiple of the number of legs.",
    )
    times: Sequence[float] | None = option(
        *(None, "times", "--times"),
        keyword="times",
        metavar="T,T,...",
        help="times of the frames instead, such as 0,0.25,1",
    )
    reverse: bool = option(
        *(False, bool, "--reverse"),
        keyword="reverse",
        help="number the frames from the target to the initial map",
    )
    inverse: bool = option(
        *(False, bool, "--inverse"),
        help="carry back: -i and its level are the target's, and time runs from the target to the initial map",
    )
    integrator: str | None = option(
        *(None, str, "--integrator"),
        keyword="integrator",
        spoken="integrator",
        choices=INTEGRATORS,
        help="how the flow is followed (default: as in the training)",
    )
    substeps: int = option(
        *(1, int, "--substeps"),
        keyword="substeps",
        spoken="number of substeps",
        least=1,
        most=1000,
        help="make N steps of each of the 10 (default: 1)",
    )
    relative_to: str | None = option(
        *(None, "file", "--relative-to"),
        keyword="relative_to",
        metavar="FILE",
        help="a part that is to stay where it is, so that all else moves relative to it: a mask from 0 to 1, or an "
        "atomic model",
    )
    model: str | None = option(
        *(None, "file", "--model"),
        keyword="model",
        metavar="FILE",
        help="atomic model to carry too (mmCIF, PDB): NAME_model.cif or .pdb",
    )
    atoms: str | None = option(
        *(None, "file", "--atoms"),
        metavar="FILE",
        help="positions to carry too (.npy, .npz; x, y, z in A): NAME_atoms.npz",
    )
    rigid: str | None = option(
        *(None, str, "--rigid"),
        keyword="rigid",
        metavar="WHAT",
        help="pieces of the model that keep their shape: residue, chain, or zones such as 'A:1-120;A:121-214,B:5'",
    )
    overwrite: bool = option(
        False, bool, "--overwrite", help="replace earlier frames of the same name in the directory"
    )

    def __post_init__(self) -> None:
        check_each(self)


PREDICTION: dict[str, Option] = options_of(PredictionOptions)
