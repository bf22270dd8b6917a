"""The options of a training run, and of how its program is called.

Each option stands here once: its default, bounds, help, flags and ChimeraX keyword (see option.py).  Parser, command,
help texts, run.json and the checks on resuming are made from these tables.  Flags and defaults of CryoTRANS 1.0.0 are
as they are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass
from typing import Any

from ..errors import InputError, named
from .call import CallOptions
from .choices import CONDITIONING, FLOWS, LOSSES, RECIPES
from .option import Option, check_each, option, options_of

_N_DOMAINS = 16  # where neither the user nor a recipe chooses
_PERIOD_OF_AUTO = 100
_LARGE = 1e30  # far beyond use; more would end in a fault, not in a sentence


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the defaults are those of CryoTRANS 1.0.0.

    Raises:
        InputError: a value out of its range.
    """

    initial_level: float = option(
        MISSING, float, "-t0", "--initial-threshold", keyword="level", metavar="LEVEL", help="its contour level"
    )
    target_level: float = option(
        *(MISSING, float, "-t1", "--target-threshold"),
        keyword="to_level",
        metavar="LEVEL",
        several=True,
        help="its contour level; for several targets one each, or one for all",
    )
    n_steps: int | None = option(
        *(MISSING, int, "-n", "--n_steps"),
        keyword="steps",
        spoken="number of steps",
        least=0,
        on_resume="free",
        help="training steps",
    )
    period: int = option(
        *(MISSING, int, "-p", "--period"),
        keyword="period",
        spoken="period",
        least=1,
        help="steps from one saving of the weights to the next",
    )
    bin_size: int = option(
        *(1, int, "-b", "--binning"),
        keyword="binning",
        spoken="binning",
        least=1,
        by_hand=True,
        help="average NxNxN voxels first (default: 1)",
    )
    depth: int = option(
        *(3, int, "--depth"),
        keyword="depth",
        spoken="depth",
        least=1,
        most=1000,
        help="linear layers of the network (default: 3, or what -w has)",
    )
    width: int = option(
        *(100, int, "--width"),
        keyword="width",
        spoken="width",
        least=1,
        most=1e7,
        help="hidden units of a layer (default: 100, or what -w has)",
    )
    epsilon: float = option(
        *(1e-4, float, "--w2_eps"),
        keyword="w2_eps",
        spoken="transport's epsilon",
        above=0,
        most=_LARGE,
        by_hand=True,
        help="epsilon of the transport, box units squared (default: 1e-4)",
    )
    n_iterations: int = option(
        *(5, int, "--w2_iter"),
        keyword="w2_iter",
        spoken="number of transport rounds",
        least=1,
        by_hand=True,
        help="rounds of the transport (default: 5)",
    )
    learning_rate: float = option(
        *(1e-3, float, "--lr"),
        keyword="learning_rate",
        spoken="learning rate",
        above=0,
        most=_LARGE,
        by_hand=True,
        help="learning rate (default: 1e-3)",
    )
    mu_mesh: float | None = option(
        *(None, float, "--mu_mesh"),
        keyword="mu_mesh",
        spoken="mesh weight",
        least=0,
        most=_LARGE,
        by_hand=True,
        help="weight of the rigidity (default: none)",
    )
    recipe: str = option(
        *("cryotrans", str, "--recipe"),
        keyword="recipe",
        spoken="recipe",
        choices=RECIPES,
        help="cryotrans: published settings, what you choose below (default); auto: chooses grids, flows, losses, "
        "steps and learning rates, and ends when nothing improves; -n is then the most steps",
    )
    flow: str = option(
        *("network", str, "--flow"),
        keyword="flow",
        spoken="flow",
        choices=FLOWS,
        help="network (default), domains that turn and slide as wholes, or both; auto tries",
    )
    n_domains: int | None = option(
        *(None, int, "--domains"),
        keyword="domains",
        spoken="number of domains",
        least=1,
        help="number of domains (default: 16; auto tries several)",
    )
    symmetry: str | None = option(
        *(None, str, "--symmetry"),
        keyword="symmetry",
        spoken="symmetry",
        metavar="GROUP",
        help="C3, D7, O ...: the flow keeps it; auto: if both maps have one, it is tried (default: C1)",
    )
    conditioning: str = option(
        *("off", str, "--conditioning"),
        keyword="conditioning",
        spoken="conditioning",
        choices=CONDITIONING,
        help="auto: of noisy maps only the molecule counts, in a soft mask, and training sees them low-passed as far "
        "as their noise demands; off: maps as they are (default: auto with --recipe auto, else off)",
    )
    loss: str = option(
        *("w2", str, "--loss"),
        keyword="loss",
        spoken="loss",
        choices=LOSSES,
        by_hand=True,
        help="w2: transport (default); l2: squared difference; correlation",
    )
    blur: float | None = option(
        *(None, float, "--blur"),
        keyword="blur",
        spoken="blur",
        least=0,
        unit="Å",
        metavar="SIGMA",
        help="with --loss correlation: blur the generated map by a Gaussian (Angstrom) to the target's resolution "
        "(default: estimated from both maps)",
    )
    hold_out: float | None = option(
        *(None, float, "--hold-out"),
        keyword="hold_out",
        spoken="share held out",
        above=0,
        below=0.5,
        metavar="SHARE",
        help="keep this share of the target, in blocks, from training and judge by it, such as 0.05",
    )
    debiased: bool = option(
        *(False, bool, "--debiased"),
        keyword="debiased",
        by_hand=True,
        help="transport that is 0 for equal maps; a step costs up to three times as much",
    )
    epsilon_start: float | None = option(
        *(None, float, "--eps_start"),
        keyword="eps_start",
        spoken="epsilon to start from",
        above=0,
        by_hand=True,
        help="let epsilon come down from X to --w2_eps over half of the steps",
    )
    reach: float | None = option(
        *(None, float, "--reach"),
        keyword="reach",
        spoken="reach of the transport",
        above=0,
        by_hand=True,
        help="unbalanced transport, for a part that one map lacks: mass farther than about X from its place, in units "
        "of the box, stays unmatched",
    )
    mesh_share: float = option(
        *(1.0, float, "--mesh_share"),
        keyword="mesh_share",
        spoken="share of the cells",
        above=0,
        most=1,
        by_hand=True,
        help="with --mu_mesh: this share of the cells at each step (default: 1)",
    )
    seed: int = option(
        *(0, int, "--seed"),
        keyword="seed",
        spoken="seed",
        least=0,
        most=2**63 - 1,
        help="seed of the random start (default: drawn, and noted in run.json)",
    )

    def __post_init__(self) -> None:
        check_each(self)
        if self.n_steps is None and self.recipe != "auto":
            raise InputError(f"The number of steps ({named('n_steps')}) is missing.")
        if self.epsilon_start is not None and self.epsilon_start < self.epsilon:
            raise InputError(
                f"The epsilon to start from ({named('epsilon_start')}) must be {self.epsilon:g} "
                f"({named('epsilon')}) or more, not {self.epsilon_start:g}."
            )
        if self.reach is not None and self.debiased:
            raise InputError(f"{named('reach')} and {named('debiased')} cannot be used together: give one of the two.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TrainingCall(CallOptions):
    """What a call of the training program says beside how to train: files, device, what is to be shown."""

    initial_map: str | None = option(
        *(None, "file", "-i0", "--initial-map"),
        metavar="MAP",
        on_resume="free",
        help="initial map, the one of high resolution (MRC, CCP4)",
    )
    target_map: str | None = option(
        *(None, "file", "-i1", "--target-map"),
        metavar="MAP",
        several=True,
        on_resume="free",
        help="target map, of another conformation; given several times, the way leads through all of them in turn",
    )
    directory: str | None = option(
        *(None, "folder", "-d", "--directory"),
        keyword="directory",
        metavar="DIR",
        on_resume="free",
        help="directory for the run, made if missing",
    )
    weight: str | None = option(
        *(None, "file", "-w", "--weight"),
        keyword="weights",
        metavar="FILE",
        by_hand=True,
        help="weights to start from (default: random)",
    )
    l2: bool = option(
        *(False, bool, "--l2"),
        by_hand=True,
        help="squared difference instead of transport, to refine; use --lr 1e-4",
    )
    validation_map: str | None = option(
        *(None, "file", "--validation-map"),
        metavar="MAP",
        help="another map of the target's state to judge by: a half map",
    )
    initial_mask: str | None = option(
        *(None, "file", "--initial-mask"),
        keyword="mask",
        metavar="FILE",
        help="mask of the initial map, from 0 to 1, on any grid; or an atomic model, round which one is made",
    )
    target_mask: str | None = option(
        *(None, "file", "--target-mask"),
        keyword="to_mask",
        metavar="FILE",
        help="mask of the target map, likewise",
    )
    half_maps: Sequence[str] | None = option(
        *(None, "file", "--half-maps"),
        keyword="half_maps",
        metavar="MAP",
        n_values=2,
        help="the two half maps of the target: their difference says what of it is noise",
    )
    segments: str | None = option(
        *(None, "file", "--segments"),
        metavar="FILE",
        help="parts of the initial map that move as wholes, with --recipe auto: a map of whole numbers, 0 for none, on "
        "any grid, as segmentation programs write it; or an atomic model, whose chains they are",
    )
    no_report: bool = option(
        *(False, bool, "--no-report"),
        on_resume="free",
        help="no report.html and no maps of the motion at the end",
    )
    resume: bool = option(
        *(False, bool, "--resume"),
        on_resume="free",
        help="go on with the run in the directory; -n, steps in all, may be raised",
    )
    overwrite: bool = option(
        *(False, bool, "--overwrite"), on_resume="free", help="replace an earlier run in the directory"
    )


TRAINING: dict[str, Option] = {**options_of(TrainingCall), **options_of(TrainingOptions)}
_OF_TRANSPORT = ("debiased", "epsilon_start", "reach")


def check_together(said: Mapping[str, Any]) -> None:
    """Options of a training that contradict each other.

    Args:
        said: what was chosen, by the names of the options; what was not is not in it.
    Raises:
        InputError: two of them do.
    """
    if said.get("recipe") == "auto":
        chosen = next((name for name, about in TRAINING.items() if about.by_hand and name in said), None)
        if chosen:
            raise InputError(
                f"{named('recipe')} auto chooses {named(chosen)} itself. Leave {named(chosen)} out, or use "
                f"{named('recipe')} cryotrans."
            )
        if "segments" in said:
            _check_segments(said)
        return
    if "segments" in said:
        raise InputError(f"{named('segments')} belongs to {named('recipe')} auto: give both, or leave it out.")
    flow = said.get("flow", "network")
    if flow == "auto":
        raise InputError(f"{named('flow')} auto is a choice of {named('recipe')} auto. Use network, domains or both.")
    if said.get("l2") and said.get("loss", "l2") != "l2":
        raise InputError(
            f"{named('l2')} and {named('loss')} {said['loss']} contradict each other: give one of the two."
        )
    loss = "l2" if said.get("l2") else said.get("loss", "w2")
    if "blur" in said and loss != "correlation":
        raise InputError(
            f"{named('blur')} belongs to {named('loss')} correlation and {named('recipe')} auto. Leave it out, or use "
            f"one of these."
        )
    of_transport = next((name for name in _OF_TRANSPORT if name in said), None)
    if of_transport and loss != "w2":
        raise InputError(f"{named(of_transport)} belongs to the transport: leave it out, or use {named('loss')} w2.")
    if "mesh_share" in said and not said.get("mu_mesh"):
        raise InputError(f"{named('mesh_share')} belongs to {named('mu_mesh')}: give both, or leave it out.")
    if "n_domains" in said and flow == "network":
        raise InputError(
            f"{named('n_domains')} belongs to {named('flow')} domains and {named('flow')} both. Leave it out, or use "
            f"one of these."
        )
    if "weight" in said and ("flow" in said or "symmetry" in said):
        raise InputError(
            f"The weights to start from ({named('weight')}) say which flow it is: leave {named('flow')} and "
            f"{named('symmetry')} out."
        )


def _check_segments(said: Mapping[str, Any]) -> None:
    against = {"n_domains": "n_domains" in said, "flow": said.get("flow") == "network"}
    against["symmetry"] = said.get("symmetry", "auto").lower() not in ("auto", "c1")  # segments move as they will
    for name, contradicts in against.items():
        if contradicts:
            raise InputError(
                f"{named('segments')} names the domains, and {named(name)} {said[name]} says otherwise: give one of "
                f"the two."
            )


def training_options(said: Mapping[str, Any], **more: Any) -> TrainingOptions:
    """What was chosen, with defaults for the rest, which depend on the recipe.

    Args:
        said: by the names of the options, levels, steps and period among them; others than of the training are let be.
        more: in the place of defaults, where they follow from files or chance.
    Raises:
        InputError: a value out of its range.
    """
    chosen = {**more, **{name: said[name] for name in options_of(TrainingOptions) if said.get(name) is not None}}
    if chosen.get("recipe") == "auto":
        chosen = {"n_steps": None, "period": _PERIOD_OF_AUTO, "flow": "auto", "symmetry": "auto", **chosen}
        chosen = {"conditioning": "auto", **chosen}
    elif chosen.get("flow") in ("domains", "both"):
        chosen = {"n_domains": _N_DOMAINS, **chosen}
    if said.get("l2"):
        chosen["loss"] = "l2"
    return TrainingOptions(**chosen)
