"""The two programs, cryotrans-train and cryotrans-predict.

Options, screen and files are those of CryoTRANS 1.0.0, and some more.  `python <this package> train …` runs the same
without installation, and with --progress json is the worker that ChimeraX starts.

Exit status: 0 done; 2 something the user can mend, said in one sentence; 128 + n stopped by signal n, after saving.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from .. import __version__
from ..engine.errors import InputError
from ..engine.options import FLOWS, INTEGRATORS, LOSSES, RECIPES
from .legs import train
from .prediction import predict_to_files
from .progress import CHOICES, Reporter, in_a_sentence, make_reporter
from .stop_request import StopRequest
from .streams import let_go, show_anything

_BAD_INPUT = 2


def train_program() -> int:
    """Entry point of cryotrans-train."""
    return main(["train", *sys.argv[1:]])


def predict_program() -> int:
    """Entry point of cryotrans-predict."""
    return main(["predict", *sys.argv[1:]])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the programs.

    Args:
        argv: "train" or "predict", then its options; by default what was typed.
    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    programs = {"train": (_train_parser, train), "predict": (_predict_parser, predict_to_files)}
    if not arguments or arguments[0] not in programs:
        asked = bool(arguments) and arguments[0] in ("-h", "--help", "--version")
        text = f"CryoTRANS {__version__}. Say train or predict first; train --help lists the options."
        print(text, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else _BAD_INPUT
    make_parser, program = programs[arguments[0]]
    # Threads that wait busily for each other stall each other where the machine has other work, such as ChimeraX.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    show_anything()
    try:
        return _run(make_parser, program, arguments)
    finally:
        let_go()


def _run(make_parser: Callable[[], argparse.ArgumentParser], program: Callable[..., None], arguments: list[str]) -> int:
    """The exit status of one of the programs."""
    reporter = Reporter()
    stop = StopRequest()
    try:
        if _wants_json(arguments):  # also of what is wrong with the options
            reporter = make_reporter("json")
        options = make_parser().parse_args(arguments[1:])
        reporter = make_reporter(options.progress)
        with stop.listening(options.stop_with_input):
            program(options, arguments, reporter, stop)
    except BrokenPipeError:  # who read our output is gone, and what there was to save is saved
        return stop.exit_status
    except InputError as error:
        _end(reporter, " ".join(str(error).splitlines()))
        return _BAD_INPUT
    except (OSError, MemoryError, RuntimeError) as error:
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise
        _end(reporter, in_a_sentence(error))
        return _BAD_INPUT
    except KeyboardInterrupt:  # a second request to stop
        _end(reporter, None)
        return stop.exit_status or 128 + signal.SIGINT
    return stop.exit_status


def _end(reporter: Reporter, sentence: str | None) -> None:
    with contextlib.suppress(BrokenPipeError):
        reporter.close()
        if sentence is not None:
            reporter.error(sentence)


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--progress=json" in arguments or ("--progress", "json") in zip(arguments, arguments[1:])


def _name(text: str) -> str:
    """The type of options that name something: an empty name comes from a script's variable that was never set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _times(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} are not numbers separated by commas") from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}. {self.prog} --help lists the options.")


def _train_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cryotrans-train",
        description="Learn the flow that carries the initial map onto the target map.",
        epilog="Levels are contour levels: density below is left out. A run needs -i0 -t0 -i1 -t1 -d -n -p (-n and -p "
        "not with --recipe auto), or --resume -d.",
        argument_default=argparse.SUPPRESS,  # so that --resume can tell what was said
    )
    add = parser.add_argument
    add("-i0", "--initial-map", type=_name, metavar="MAP", help="initial map, the one of high resolution (MRC, CCP4)")
    add("-t0", "--initial-threshold", type=float, metavar="LEVEL", help="its contour level")
    add(
        "-i1",
        "--target-map",
        type=_name,
        action="append",
        metavar="MAP",
        help="target map, of another conformation; given several times, the way leads through all of them in turn",
    )
    add(
        "-t1",
        "--target-threshold",
        type=float,
        action="append",
        metavar="LEVEL",
        help="its contour level; for several targets one each, or one for all",
    )
    add("-d", "--directory", type=_name, metavar="DIR", help="directory for the run, made if missing")
    add("-n", "--n_steps", type=int, metavar="N", help="training steps")
    add("-p", "--period", type=int, metavar="N", help="steps from one saving of the weights to the next")
    add("-w", "--weight", type=_name, metavar="FILE", help="weights to start from (default: random)")
    add("-b", "--binning", type=int, metavar="N", help="average NxNxN voxels first (default: 1)")
    add("--depth", type=int, metavar="N", help="linear layers of the network (default: 3, or what -w has)")
    add("--width", type=int, metavar="N", help="hidden units of a layer (default: 100, or what -w has)")
    add("--w2_eps", type=float, metavar="X", help="epsilon of the transport, box units squared (default: 1e-4)")
    add("--w2_iter", type=int, metavar="N", help="rounds of the transport (default: 5)")
    add("--l2", action="store_true", help="squared difference instead of transport, to refine; use --lr 1e-4")
    add("--lr", type=float, metavar="X", help="learning rate (default: 1e-3)")
    add("--mu_mesh", type=float, metavar="X", help="weight of the rigidity (default: none)")
    add(
        "--recipe",
        choices=RECIPES,
        help="cryotrans: published settings, what you choose below (default); auto: chooses grids, flows, losses, "
        "steps and learning rates, and ends when nothing improves; -n is then the most steps",
    )
    add("--flow", choices=FLOWS, help="network (default), domains that turn and slide as wholes, or both; auto tries")
    add("--domains", type=int, metavar="N", help="number of domains (default: 16; auto tries several)")
    add("--symmetry", metavar="GROUP", help="C3, D7 ...: the flow keeps it; auto: found in the maps (default: C1)")
    add("--loss", choices=LOSSES, help="w2: transport (default); l2: squared difference; correlation")
    add(
        "--blur",
        type=float,
        metavar="SIGMA",
        help="with --loss correlation: blur the generated map by a Gaussian (Angstrom) to the target's resolution "
        "(default: estimated from both maps)",
    )
    add(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help="keep this share of the target, in blocks, from training and judge by it, such as 0.05",
    )
    add("--validation-map", type=_name, metavar="MAP", help="another map of the target's state to judge by: a half map")
    add(
        "--debiased",
        action="store_true",
        help="transport that is 0 for equal maps; a step costs up to three times as much",
    )
    add("--eps_start", type=float, metavar="X", help="let epsilon come down from X to --w2_eps over half of the steps")
    add(
        "--reach",
        type=float,
        metavar="X",
        help="unbalanced transport, for a part that one map lacks: mass farther than about X from its place, in units "
        "of the box, stays unmatched",
    )
    add(
        "--mesh_share",
        type=float,
        metavar="X",
        help="with --mu_mesh: this share of the cells at each step (default: 1)",
    )
    add("--seed", type=int, metavar="N", help="seed of the random start (default: drawn, and noted in run.json)")
    add("--no-report", action="store_true", help="no report.html and no maps of the motion at the end")
    _add_common(parser)
    add("--resume", action="store_true", help="go on with the run in the directory; -n, steps in all, may be raised")
    add("--overwrite", action="store_true", help="replace an earlier run in the directory")
    return parser


def _predict_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cryotrans-predict",
        description="Carry a map along a trained flow and write the frames of its trajectory.",
        epilog="The trajectory is an interpolation between two maps, not a simulation of the motion.",
    )
    add = parser.add_argument
    add("-i", "--initial-map", type=_name, required=True, metavar="MAP", help="the map to carry")
    add("-t", "--initial-threshold", type=float, default=0.0, metavar="LEVEL", help="its contour level (default: 0)")
    add("-d", "--directory", type=_name, required=True, metavar="DIR", help="directory for the frames, made if missing")
    add(
        "-p",
        "--prefix",
        type=_name,
        default="frame",
        metavar="NAME",
        help="files are NAME_00.mrc, NAME_01.mrc, ... (default: frame)",
    )
    add("-w", "--weight", type=_name, metavar="FILE", help="weights that training wrote, such as net.pt")
    add("--no-report", action="store_true", help="no report.html beside the frames")
    add("--run", type=_name, metavar="DIR", help="instead of -w: the directory of the training")
    add("--checkpoint", metavar="WHICH", help="of --run: best (default), last, or K for net_K.pt")
    add("--depth", type=int, metavar="N", help="not needed: read off the weights")
    add("--width", type=int, metavar="N", help="not needed: read off the weights")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="number of frames from one end to the other, evenly in time (default: 11; with several targets 10 a leg "
        "and 1). Every conformation has a frame of its own if N - 1 is a multiple of the number of legs.",
    )
    which.add_argument("--times", type=_times, metavar="T,T,...", help="times of the frames instead, such as 0,0.25,1")
    add("--reverse", action="store_true", help="number the frames from the target to the initial map")
    add(
        "--inverse",
        action="store_true",
        help="carry back: -i and its level are the target's, and time runs from the target to the initial map",
    )
    add("--integrator", choices=INTEGRATORS, help="how the flow is followed (default: as in the training)")
    add("--substeps", type=int, default=1, metavar="N", help="make N steps of each of the 10 (default: 1)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--model", type=_name, metavar="FILE", help="atomic model to carry too (mmCIF, PDB): NAME_model.cif or .pdb"
    )
    what.add_argument(
        "--atoms", type=_name, metavar="FILE", help="positions to carry too (.npy, .npz; x, y, z in A): NAME_atoms.npz"
    )
    add(
        "--rigid",
        type=_name,
        metavar="WHAT",
        help="pieces of the model that keep their shape: residue, chain, or zones such as 'A:1-120;A:121-214,B:5'",
    )
    _add_common(parser)
    add("--overwrite", action="store_true", help="replace earlier frames of the same name in the directory")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-g", "--gpu", type=int, metavar="N", help="which NVIDIA GPU (default: 0)", default=None)
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    parser.add_argument("--progress", default="auto", choices=CHOICES, help="what to show meanwhile (default: auto)")
    parser.add_argument(
        "--stop-with-input",
        action="store_true",
        default=False,
        help="save and end when standard input is closed: for programs that start this one",
    )
    parser.add_argument("--version", action="version", version=f"CryoTRANS {__version__}")
