"""The two programs, cryotrans-train and cryotrans-predict.

Options, screen and files are those of CryoTRANS 1.0.0, and some more.  `python <this package> train …` runs the same
without installation, and with --progress json is the worker that ChimeraX starts.

Exit status: 0 done; 2 something the user can mend, said in one sentence; 128 + n stopped by signal n, after saving.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..engine.errors import InputError
from ..engine.options.option import Option
from ..engine.options.prediction import PREDICTION
from ..engine.options.training import TRAINING
from .allocator import keep_freed_memory
from .arguments import flag_in, prediction_parser, training_parser, with_numbers_joined
from .prediction import predict_to_files
from .progress import Reporter, SilentReporter, in_a_sentence, make_reporter
from .several import is_follower, train
from .stop_request import StopRequest
from .streams import let_go, say_no_more_where_nobody_reads, show_anything

_BAD_INPUT = 2


class _Program(NamedTuple):
    options: Mapping[str, Option]
    make_parser: Callable[[], argparse.ArgumentParser]
    run: Callable[[dict[str, Any], list[str], Reporter, StopRequest], None]


_PROGRAMS = {
    "train": _Program(TRAINING, training_parser, train),
    "predict": _Program(PREDICTION, prediction_parser, predict_to_files),
}


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
    if not arguments or arguments[0] not in _PROGRAMS:
        asked = bool(arguments) and arguments[0] in ("-h", "--help", "--version")
        text = f"CryoTRANS {__version__}. Say train or predict first; train --help lists the options."
        print(text, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else _BAD_INPUT
    # Threads that wait busily for each other stall each other where the machine has other work, such as ChimeraX.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    keep_freed_memory()
    show_anything()
    try:
        return run_program(arguments).status
    finally:
        let_go()


class Ended(NamedTuple):
    """How a program has ended.

    Attributes:
        status: its exit status.
        sentence: why, if it failed.
        may_pass: it failed because of the machine: a full disk, memory that others had; it may not the next time.
    """

    status: int
    sentence: str = ""
    may_pass: bool = False


def run_program(arguments: list[str]) -> Ended:
    """Run one of the programs to its end; arguments as for `main`."""
    program = _PROGRAMS[arguments[0]]
    word = flag_in(program.options)
    is_silent = arguments[0] == "train" and is_follower()
    reporter = SilentReporter() if is_silent else Reporter(word)
    stop = StopRequest()
    try:
        if _wants_json(arguments) and not is_silent:  # also of what is wrong with the options
            reporter = make_reporter("json", word)
            reporter.program(__version__)
        said = vars(program.make_parser().parse_args(with_numbers_joined(arguments[1:], program.options)))
        if not is_silent:
            reporter = make_reporter(said.get("progress", "auto"), word)
        with stop.listening(said.get("stop_with_input", False) and not is_silent):
            program.run(said, arguments, reporter, stop)
    except BrokenPipeError:  # who read our output is gone, and what there was to save is saved
        return Ended(stop.exit_status)
    except InputError as error:
        sentence = " ".join(error.marked.splitlines())
        may_pass = isinstance(error.__cause__, (OSError, MemoryError, RuntimeError))
        return _end(reporter, sentence, may_pass)
    except (OSError, MemoryError, RuntimeError) as error:
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise
        return _end(reporter, in_a_sentence(error), may_pass=True)
    except ImportError as error:
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise
        return _end(reporter, _cannot_load(error), may_pass=False)
    except KeyboardInterrupt:  # a second request to stop
        say_no_more_where_nobody_reads()
        with contextlib.suppress(BrokenPipeError):
            reporter.close()
        return Ended(stop.exit_status or 128 + signal.SIGINT)
    return Ended(stop.exit_status)


def _cannot_load(error: ImportError) -> str:
    """That a library is missing, or is there and broken; which one, by the outermost import of it that failed."""
    found = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parents[1])
    line = next((frame.line for frame in reversed(found) if frame.filename.startswith(ours)), None) or ""
    named = re.match(r"\s*(?:import|from)\s+(\w+)", line)
    name = named[1] if named else error.name or "a library"
    return f"{sys.executable} cannot load {name} ({error}). Install it for that Python, or use another one."


def _end(reporter: Reporter, sentence: str, may_pass: bool) -> Ended:
    with contextlib.suppress(BrokenPipeError):
        reporter.close()
        reporter.error(sentence)
    return Ended(_BAD_INPUT, reporter.worded(sentence), may_pass)


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--progress=json" in arguments or ("--progress", "json") in zip(arguments, arguments[1:])
