"""What a program tells while it runs: a table and a bar for people, one JSON object a line for programs.

The table goes to standard output as CryoTRANS 1.0.0 prints it; notes, warnings and the bar go to standard error.
docs/progress.md lists the JSON objects.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..engine.errors import InputError, first_line, is_of_memory, named, worded
from .streams import Stream

_SECONDS_BETWEEN_STEPS = 0.25  # a glance at the loss makes a GPU wait, so glances are rare

_RULE = "|-----------------------------------------|"
_HEAD = "|   iter   |       loss       |   time    |"
_MIDDLE = "|----------|------------------|-----------|"
_MEASURES = {
    "correlation": "correlation {:.3f}",
    "resolution": "FSC = 0.5 at {:.1f} Å",
    "transport_distance": "{:.2f} Å to go",
    "strain": "strain {:.2f}",
    "folded": "folded {:.2%}",
    "held_out": "held-out correlation {:.3f}",
    "validation": "FSC = 0.5 with the validation map at {:.1f} Å",
}
_ADVICE = {  # by what the system says; not every system knows each
    text: [number for name in names.split() if (number := getattr(errno, name, None)) is not None]
    for text, names in {
        "Make room on the disk.": "ENOSPC EFBIG EDQUOT",
        "Allow writing there, or use another directory.": "EACCES EPERM EROFS",
        "The disk, or the way to it through the network, has failed.": "EIO ESTALE ENOTCONN ETIMEDOUT EHOSTDOWN",
    }.items()
}


class Reporter:
    """Says notes, warnings and errors in plain words, and no news of the steps; the others build on it."""

    def __init__(self, word: Callable[[str], str] = str) -> None:
        """
        Args:
            word: how an option is said that a text names, see errors.py.
        """
        self._word = word
        self.notes: list[str] = []  # all that were told, as they were said
        self.warnings: list[str] = []
        self._leg: dict[str, int] = {}
        self._without: set[str] = set()  # what failed

    def begin_leg(self, leg: int, n_legs: int) -> None:
        """What is told from here on is of this leg of a morph through several conformations."""
        self.notes, self.warnings, self._without = [], [], set()
        self._leg = {"leg": leg, "n_legs": n_legs}

    def note(self, text: str) -> None:
        """A sentence on what was done or chosen."""
        self.notes.append(self.worded(text))
        self._tell("note", text)

    def warning(self, text: str) -> None:
        """A sentence on what may spoil the result."""
        self.warnings.append(self.worded(text))
        self._tell("warning", text)

    @contextlib.contextmanager
    def doing_without(self, what: str) -> Iterator[None]:
        """Work at the edge of a run, which goes on if it fails: that is said as a warning, once."""
        try:
            yield
        except BrokenPipeError:  # who reads what we say is gone
            raise
        except Exception as error:  # a library may raise anything
            if os.environ.get("CRYOTRANS_DEBUG"):
                raise
            if what not in self._without:
                self._without.add(what)
                self.warning(f"{what} had to be left out: {in_a_sentence(error)}")

    def error(self, text: str) -> None:
        """Why the program ends."""
        self._say(self.worded(text))

    def worded(self, text: str) -> str:
        """The text with the options that it names as they are typed."""
        return worded(text, self._word)

    def program(self, version: str) -> None:
        """Which version speaks; before all else."""

    def start(self, **facts: Any) -> None:
        """Training or prediction begins; `n_steps` or `n_frames` is among the facts."""

    def step(self, step: int, loss: Callable[[], float]) -> None:
        """A training step was made; `loss` is asked for only when it is to be shown."""

    def checkpoint(self, step: int, loss: float, seconds: float, **facts: Any) -> None:
        """Weights were saved; seconds since the start."""

    def frame(self, path: str, number: int, time: float) -> None:
        """A frame was written."""

    def end(self, state: str, text: str, **facts: Any) -> None:
        """All files are written; `state` is finished or stopped."""

    def close(self) -> None:
        """No more is to come."""

    def _tell(self, event: str, text: str) -> None:
        said = self.worded(text)
        self._say(said if event == "note" else f"Warning: {said}")

    def _say(self, text: str) -> None:
        Stream(sys.stderr).line(text)


class SilentReporter(Reporter):
    """Says nothing."""

    def _say(self, text: str) -> None:
        pass


class TextReporter(Reporter):
    """The published table, and a bar if asked for."""

    def __init__(self, bar: bool, word: Callable[[str], str] = str) -> None:
        super().__init__(word)
        self._wants_bar = bar
        self._bar: Any = None
        self._table = False
        self._looked = 0.0

    def start(self, **facts: Any) -> None:
        self._table = "n_steps" in facts
        if self._table:
            Stream(sys.stdout).line("\n".join((_RULE, _HEAD, _MIDDLE)))
        if self._wants_bar:
            try:
                from tqdm import tqdm
            except ImportError:  # ChimeraX's own Python may be the one that has PyTorch
                return
            total, unit = (facts["n_steps"], "step") if self._table else (facts["n_frames"], "frame")
            self._bar = tqdm(total=total, initial=facts.get("step", 0), unit=unit, file=Stream(sys.stderr), leave=False)

    def step(self, step: int, loss: Callable[[], float]) -> None:
        now = time.monotonic()
        if self._bar is not None and now - self._looked > _SECONDS_BETWEEN_STEPS:
            self._looked = now
            self._bar.set_postfix_str(f"loss {loss():.4g}", refresh=False)
            self._bar.update(step - self._bar.n)

    def checkpoint(self, step: int, loss: float, seconds: float, **facts: Any) -> None:
        self._line(f"| {step:^8} | {loss:16.9e} | {seconds:.3e} |")
        measures = ", ".join(text.format(facts[name]) for name, text in _MEASURES.items() if name in facts)
        if measures and self._wants_bar:  # on a terminal; elsewhere metrics.csv tells
            self._say(f"  step {step}: {measures}")

    def frame(self, path: str, number: int, time: float) -> None:
        if self._bar is not None:
            self._bar.update(1)

    def end(self, state: str, text: str, **facts: Any) -> None:
        self.close()
        if self._table:
            Stream(sys.stdout).line(_RULE)
            if state == "finished":
                Stream(sys.stdout).line("Save network ... done.")
        self._say(self.worded(text))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        Stream(sys.stdout).line(text)

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        super()._say(text)


class JsonReporter(Reporter):
    """One JSON object a line on standard output, each with its `event`."""

    def __init__(self, word: Callable[[str], str] = str) -> None:
        super().__init__(word)
        self._started = time.monotonic()
        self._first_step = 0
        self._n_steps = 0
        self._looked = 0.0

    def _tell(self, event: str, text: str) -> None:
        self._send(event, **self._texts(text))

    def program(self, version: str) -> None:
        self._send("program", version=version)

    def error(self, text: str) -> None:
        self._send("error", **self._texts(text))

    def _texts(self, text: str) -> dict[str, str]:
        """As it is said here; and marked where it names options, for programs that have other words for them."""
        said = self.worded(text)
        return {"text": said} if said == text else {"text": said, "marked": text}

    def start(self, **facts: Any) -> None:
        self._started = time.monotonic()
        self._first_step, self._n_steps = facts.get("step", 0), facts.get("n_steps", 0)
        self._send("start", **facts)

    def step(self, step: int, loss: Callable[[], float]) -> None:
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_STEPS:
            return
        self._looked = now
        value = loss()
        seconds = time.monotonic() - self._started
        left = seconds / max(1, step - self._first_step) * (self._n_steps - step)
        self._send("step", step=step, loss=value, seconds=round(seconds, 3), seconds_left=round(left, 1))

    def checkpoint(self, step: int, loss: float, seconds: float, **facts: Any) -> None:
        self._send("checkpoint", step=step, loss=loss, seconds=round(seconds, 3), **facts)

    def frame(self, path: str, number: int, time: float) -> None:
        self._send("frame", path=path, number=number, time=time)

    def end(self, state: str, text: str, **facts: Any) -> None:
        self._send("end", state=state, **self._texts(text), **facts)

    def _send(self, event: str, **facts: Any) -> None:
        Stream(sys.stdout).line(json.dumps({"event": event, **facts, **self._leg}))


def make_reporter(choice: str, word: Callable[[str], str]) -> Reporter:
    """The reporter for a word of PROGRESS; auto shows a bar where standard error is a terminal."""
    if choice == "json":
        return JsonReporter(word)
    # Standard error may have been closed, and is None then.
    return TextReporter(
        bar=bool(sys.stderr) and (choice == "bar" or (choice == "auto" and sys.stderr.isatty())), word=word
    )


def in_a_sentence(error: BaseException) -> str:
    """What went wrong and the way out, for failures of the machine; options are named as errors.py says."""
    if isinstance(error, InputError):
        return error.marked
    if isinstance(error, OSError):
        return _of_the_disk(error)
    if is_of_memory(error):
        return f"Out of memory. Use {named('bin_size')} 2, a higher level, a smaller network, or {named('device')} cpu."
    return f"Computing failed: {first_line(error)}."


def _of_the_disk(error: OSError) -> str:
    folder = os.path.dirname(os.path.abspath(error.filename)) if isinstance(error.filename, str) else None
    if error.errno == errno.ENOENT and folder and not os.path.exists(folder):
        return f"The folder {folder} is gone: it was moved or removed while this ran."
    where = f" {error.filename}" if error.filename else ""
    advice = next((advice for advice, numbers in _ADVICE.items() if error.errno in numbers), "")
    if getattr(error, "winerror", None) in (5, 32):
        advice = "Close it in the program that has it open."
    return f"Cannot write or read{where}: {error.strerror or error}.{advice and ' ' + advice}"
