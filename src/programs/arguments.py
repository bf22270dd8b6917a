"""What is typed at the two programs, from the tables of options, and how their texts name an option."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .. import __version__
from ..engine.errors import InputError
from ..engine.options.option import Option
from ..engine.options.prediction import PREDICTION
from ..engine.options.training import TRAINING

_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
ALTERNATIVES = (("frames", "times"), ("model", "atoms"))


class Parser(argparse.ArgumentParser):
    """Says what is wrong as an InputError."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}. {self.prog} --help lists the options.")


def training_parser() -> argparse.ArgumentParser:
    """Puts what was said, and nothing else, under the names of the options; how to run has its defaults."""
    parser = Parser(
        prog="cryotrans-train",
        description="Learn the flow that carries the initial map onto the target map.",
        epilog="Levels are contour levels: density below is left out. A run needs -i0 -t0 -i1 -t1 -d -n -p (-n and -p "
        "not with --recipe auto), or --resume -d.",
        argument_default=argparse.SUPPRESS,  # so that --resume can tell what was said
    )
    _add(parser, TRAINING)
    parser.set_defaults(device="auto", gpu=None, progress="auto", stop_with_input=False)
    return parser


def prediction_parser() -> argparse.ArgumentParser:
    """Puts what was said, and nothing else, under the names of the options."""
    parser = Parser(
        prog="cryotrans-predict",
        description="Carry a map along a trained flow and write the frames of its trajectory.",
        epilog="The trajectory is an interpolation between two maps, not a simulation of the motion.",
        argument_default=argparse.SUPPRESS,
    )
    _add(parser, PREDICTION, required=("initial_map", "directory"))
    return parser


def with_numbers_joined(words: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    """The same with -t0 -1e-3 as -t0=-1e-3: not every version of argparse takes that for a number."""
    flags = {flag for about in options.values() if about.kind in (int, float) for flag in about.flags}
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in flags and _NUMBER.fullmatch(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def flag_in(options: Mapping[str, Option]) -> Callable[[str], str]:
    """How a program's texts name an option: by its flag."""
    return lambda name: options[name].flag if name in options else f"--{name.replace('_', '-')}"


def _add(parser: argparse.ArgumentParser, options: Mapping[str, Option], required: Sequence[str] = ()) -> None:
    exclusive: dict[str, Any] = {}
    for names in ALTERNATIVES:
        if options.keys() >= set(names):
            exclusive |= dict.fromkeys(names, parser.add_mutually_exclusive_group())
    for name, about in options.items():
        group = exclusive.get(name, parser)
        if about.kind is bool:
            group.add_argument(*about.flags, dest=name, action="store_true", help=about.help)
            continue
        more: dict[str, Any] = {"required": True} if name in required else {}
        if about.n_values > 1:
            more["nargs"] = about.n_values
        group.add_argument(
            *about.flags,
            dest=name,
            type=_TYPES[about.kind],
            action="append" if about.several else "store",
            metavar=about.metavar or (None if about.choices else _METAVARS.get(about.kind)),
            choices=about.choices or None,
            help=about.help,
            **more,
        )
    parser.add_argument("--version", action="version", version=f"CryoTRANS {__version__}")


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


_TYPES: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    "times": _times,
    "file": _name,
    "folder": _name,
}
_METAVARS = {int: "N", float: "X"}
