"""The steps of a training run, and what it leaves behind on the way."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..engine.errors import InputError, is_of_memory, named
from ..engine.files.run_directory import (
    FINAL_WEIGHTS,
    GENERATED_MAP,
    LOSS_FILE,
    MASKS,
    RUN_FILE,
    STATE_FILE,
    RunDirectory,
)
from ..engine.files.writing import remove
from ..engine.judging.tables import FSC_FILE, METRICS_FILE
from ..engine.maps.density_map import DensityMap
from ..engine.maps.mrc_file import write_map
from .allocator import give_freed_memory_back
from .beginning import evaluate
from .conclusion import MOTION_FILES, conclude
from .history import Compared, History
from .progress import Reporter, SilentReporter, in_a_sentence
from .provenance import now, versions
from .report.report import REPORT_FILE
from .stop_request import Stopped, StopRequest

if TYPE_CHECKING:
    import torch

    from ..engine.training.docked_starts import DockedStarts
    from ..engine.training.recipe import AutoTraining
    from ..engine.training.training import Training

_T = TypeVar("_T")

_LARGE_BOX = 1 << 24  # voxels; in smaller ones taking memory anew costs more time than it spares memory
_SAID_SHARE = 5e-5  # of the mass outside the box; less would be said as 0.00 %


def run_training(
    run: RunDirectory,
    content: dict[str, Any],
    training: Training | AutoTraining,
    compared: Compared,
    reporter: Reporter,
    stop: StopRequest,
    masks: Mapping[str, DensityMap] = MappingProxyType({}),
) -> None:
    """The steps from the first loss to the end, a stop, or a failure; `masks` are written first, for predictions."""
    import torch

    options, n_threads = training.options, torch.get_num_threads()
    files = {*run.own_names(), *_names_after(training)}
    if content["reports"]:
        files |= {*MOTION_FILES, REPORT_FILE}
    if "leg" in content:
        files.add(GENERATED_MAP)
    files |= {MASKS[key] for key in content.get("masks", ())}
    content = {**content, "files": sorted(files)}
    run.write({**content, "versions": versions(), "updated": now()})
    for key, mask in masks.items():
        write_map(run / MASKS[key], mask)
    before, started = float(content["seconds"]), time.monotonic()
    keeper = _Keeper(run, content, training, compared, reporter, before, started)
    try:
        with stop.saving():
            try:
                reporter.start(
                    directory=str(run.path.absolute()),
                    device=content["device"]["used"],
                    n_points=content["n_points"],
                    step=training.step,
                    n_steps=training.n_steps,
                    period=options.period,
                )
                _make_steps(training, keeper, compared.comparison.device, reporter, stop)
            except BrokenPipeError:
                keeper.save_end()
                raise
            keeper.save_end()
        keeper.finish(stop)
    except BrokenPipeError:  # who reads what we say is gone, and all is saved
        raise
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        keeper.fail(error)
    finally:
        torch.set_num_threads(n_threads)


def follow_steps(training: Training | AutoTraining, device: torch.device) -> None:
    """The same steps on a rank that is not the first."""
    import torch

    from ..engine.device import use_threads
    from ..engine.training.recipe import AutoTraining

    n_threads, ranks = torch.get_num_threads(), training.ranks
    while not ranks.from_first(True):
        use_threads(device, training.n_points * training.options.width, n_threads)
        if isinstance(training, AutoTraining) and training.will_dock:
            ranks.gathered(training.search())
            docked = ranks.from_first(None)
            if docked is None:
                return
            give_freed_memory_back()
            training.begin_with(docked)
        training.update()
        evaluate(training, device, SilentReporter())


def _make_steps(
    training: Training | AutoTraining, keeper: _Keeper, device: torch.device, reporter: Reporter, stop: StopRequest
) -> None:
    """From where the training is to its end or a stop, with a checkpoint every period."""
    import torch

    from ..engine.device import use_threads
    from ..engine.training.recipe import AutoTraining

    options, n_threads, ranks = training.options, torch.get_num_threads(), training.ranks
    while True:
        use_threads(device, training.n_points * options.width, n_threads)
        keeper.pass_on_notes()
        if training.step % options.period == 0:
            keeper.checkpoint()
        with keeper.saving_the_step():
            if ranks.from_first(training.finished or bool(stop)):
                return
            if isinstance(training, AutoTraining) and training.will_dock:
                docked = _docked(training, stop)
                if docked is None:
                    return
                give_freed_memory_back()  # what docking and the first measures took, steps do not
                training.begin_with(docked)
        training.update()
        with keeper.saving_the_step():
            evaluate(training, device, reporter)
        reporter.step(training.step, keeper.last_loss)


def _docked(training: AutoTraining, stop: StopRequest) -> DockedStarts | None:
    """What docking finds, on every rank; None where a stop breaks it off."""
    ranks = training.ranks
    poses = ranks.gathered(_unless_stopped(stop, training.search))
    found = [each for each in poses if each is not None]
    return ranks.from_first(_unless_stopped(stop, lambda: training.dock(found)))  # not begun after a stop


def _unless_stopped(stop: StopRequest, work: Callable[[], _T]) -> _T | None:
    """What the work gives, which must change nothing; None where a stop is asked for before its end."""
    with contextlib.suppress(Stopped), stop.at_once():
        return work()
    return None


class _Keeper:
    """Writes what a run leaves behind."""

    def __init__(
        self,
        run: RunDirectory,
        content: dict[str, Any],
        training: Training | AutoTraining,
        compared: Compared,
        reporter: Reporter,
        before: float,
        started: float,
    ) -> None:
        self._run, self._content, self._training, self._options = run, content, training, training.options
        self._reporter, self._before, self._started = reporter, before, started
        self._saved_step: int | None = training.step if (run / STATE_FILE).exists() else None
        self._warned = False
        self._first_step = training.step
        self._history = History(run, compared, training.step, reporter)
        self._told_before = {key: list(content.get(key, ())) for key in ("notes", "warnings")}

    def last_loss(self) -> float:
        return self._training.losses[-1]

    def pass_on_notes(self) -> None:
        """What the recipe has chosen."""
        if self._training.notes and self._history.compared.initial.density.size > _LARGE_BOX:
            give_freed_memory_back()  # a stage begins, whose arrays have other sizes
        for note in self._training.notes:
            self._reporter.note(note)
        self._training.notes.clear()

    def checkpoint(self) -> None:
        """At the end of a period: save, and say so."""
        name = f"net_{self._training.step // self._options.period}.pt"
        self.save("running", weights=name)
        seconds = time.monotonic() - self._started
        outside = self._content["mass_outside"]
        self._reporter.checkpoint(
            self._training.step,
            self.last_loss(),
            seconds,
            weights=str((self._run / name).absolute()),
            mass_outside=outside,
            **self._history.last_measures(self._training.step),
        )
        if outside >= _SAID_SHARE and not self._warned:
            self._warned = True
            self._reporter.warning(
                f"{outside:.2%} of the mass has left the box at step {self._training.step}, and is lost there. "
                f"If it grows, use maps in a larger box."
            )

    def save(self, state: str, weights: str) -> None:
        """Weights, measures, losses, all for resuming, run.json, in this order."""
        from ..engine.flow.checkpoint import save_state, save_weights

        losses = self._training.losses  # first, for it fails if they are not numbers
        save_weights(self._run / weights, self._training.velocity)
        seconds = self._before + time.monotonic() - self._started
        self._history.leave_out(self._training.without_partner)
        self._history.take(self._training.velocity, self._training.step, seconds, losses[-1], weights)
        self._run.write_losses(losses)
        save_state(self._run / STATE_FILE, self._training.state())
        self._remove_earlier_end(weights)
        self._saved_step = self._training.step
        endings = {"ended_early": self._training.ended_early, "has_settled": self._training.has_settled}
        self._history.ended_early, self._history.has_settled = endings.values()
        self._content = {
            **self._content,
            **endings,
            "best": self._history.best(),
            "verdict": self._verdict(),
            "without_partner": self._history.without_partner(),
            "relative_blur": round(self._history.compared.blur, 4),  # Å
            "witness": None,
            "confidence": None,
            "notes": self._told_before["notes"] + self._reporter.notes,
            "warnings": self._told_before["warnings"] + self._reporter.warnings,
            "checkpoints": self._history.checkpoints(),
            "files": sorted({*self._content["files"], *_names_after(self._training)}),
            "state": state,
            "step": self._training.step,
            "loss": losses[-1],
            "mass_outside": self._training.mass_outside(),
            "seconds": round(seconds, 3),
            "versions": versions(),
            "updated": now(),
        }
        self._run.write(self._content)

    @contextlib.contextmanager
    def saving_the_step(self) -> Iterator[None]:
        """Where memory or another rank is lost in this block, the step that was made before it is whole."""
        from ..engine.ranks import LostRank

        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if is_of_memory(error) or isinstance(error, LostRank):
                self.save("running", weights=FINAL_WEIGHTS)
            raise

    def last_state(self) -> str:
        """The state of a run that ends now."""
        return "finished" if self._training.finished else "stopped"

    def save_end(self) -> None:
        """The last save, if it is not made; as of a run that goes on where more follows: resuming makes up for it."""
        state = self.last_state()
        if self._content["state"] != state:
            state = "running" if state == "finished" and self._content["reports"] else state
            self.save(state, weights=FINAL_WEIGHTS)

    def finish(self, stop: StopRequest) -> None:
        """What follows the last save, and what to do next; no conclusion if a run that can be resumed is in haste."""
        state = self.last_state()
        if self._content["reports"] and not (state == "stopped" and stop.in_haste):
            if state == "finished":
                self._ask_witness()
            self._conclude()
        self._content["state"] = state
        self._run.write(self._content)
        training, path = self._training, self._run.path
        text = f"{FINAL_WEIGHTS} is in {path}."
        outside = self._content["mass_outside"]
        if outside >= _SAID_SHARE:
            text += f" {outside:.2%} of the mass lies outside the box."
        if state == "stopped":
            text = (
                f"Stopped at step {training.step} of {training.n_steps}; all is saved. "
                f"Go on with: cryotrans-train {named('resume')} {named('directory')} {_quoted(self._to_resume())}"
            )
        self._reporter.end(
            state,
            text,
            directory=str(path.absolute()),
            weights=str((self._run / FINAL_WEIGHTS).absolute()),
            step=training.step,
            n_steps=training.n_steps,
            loss=self.last_loss(),
            seconds=self._content["seconds"],
            mass_outside=outside,
            best=self._content["best"],
            verdict=self._history.verdict(),
        )

    def _to_resume(self) -> Path:
        """The directory to name to --resume: that of all legs, if this is one of several."""
        return self._run.path.parent if "leg" in self._content else self._run.path

    def _verdict(self) -> dict[str, Any] | None:
        """As run.json has it, in the program's words."""
        verdict = self._history.verdict()
        return verdict and {**verdict, "advice": [self._reporter.worded(text) for text in verdict["advice"]]}

    def _ask_witness(self) -> None:
        """What docking says of the flow, and the verdict with it."""
        with self._reporter.doing_without("The witness"):
            give_freed_memory_back()
            self._history.ask_witness(self._options.seed)
            give_freed_memory_back()
            self._history.take_confidence()
            told = {"witness": self._history.witness(), "confidence": self._history.confidence()}
            self._content |= {**told, "verdict": self._verdict()}
            self._run.write(self._content)

    def _conclude(self) -> None:
        """Maps of the motion and the report; what they lack is no loss to the training."""
        with self._reporter.doing_without("The maps of the motion and the report"):
            give_freed_memory_back()
            measured = self._history.measured_of_best()
            give_freed_memory_back()
            if measured is not None:
                witness = self._content["witness"]
                confidence = self._history.confidence_at_points()
                conclude(self._run, self._history.compared, measured, self._reporter, witness, confidence)

    def _remove_earlier_end(self, weights: str) -> None:
        """What a run had left at its end, once it has gone on beyond; not before, for that may fail."""
        own = set(self._content["files"])
        if weights != FINAL_WEIGHTS:
            remove(self._run / FINAL_WEIGHTS)
        if self._training.step > self._first_step:
            for name in own.intersection((*MOTION_FILES, REPORT_FILE)):
                with self._reporter.doing_without(f"Removing the earlier {name}"):
                    remove(self._run / name)

    def fail(self, error: Exception) -> NoReturn:
        """Leave the last good checkpoint, say in run.json what happened if that can still be written."""
        if os.environ.get("CRYOTRANS_DEBUG"):
            raise error
        text = in_a_sentence(error)
        if self._saved_step is not None and os.path.exists(self._run / STATE_FILE):  # else the folder is gone
            diverged = isinstance(error, InputError)  # and would again, were the same steps made from there
            way_out = (
                f"a new run can start from its last weights ({named('weight')})"
                if diverged
                else f"go on with {named('resume')}"
            )
            text += f" The checkpoint of step {self._saved_step} in {self._to_resume()} is whole; {way_out}."
        with contextlib.suppress(OSError):
            self._run.write(
                {**self._content, "state": "failed", "message": self._reporter.worded(text), "updated": now()}
            )
        raise InputError(text) from error


def _names_after(training: Training | AutoTraining) -> list[str]:
    """The files that every run has written by the next checkpoint."""
    n_checkpoints = training.step // training.options.period + 2
    numbered = [f"net_{number}.pt" for number in range(n_checkpoints)]
    return [RUN_FILE, LOSS_FILE, STATE_FILE, FINAL_WEIGHTS, METRICS_FILE, FSC_FILE, *numbered]


def _quoted(path: Path) -> str:
    """As it has to be typed."""
    return subprocess.list2cmdline([str(path)]) if sys.platform == "win32" else shlex.quote(str(path))
