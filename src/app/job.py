"""Training and prediction in the background: what the worker reports, said in the status line and in the Log.

After a training that finished, or was stopped, the same job has the frames made and opens them as a volume series.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from chimerax.core.errors import UserError

from ..engine.files.map_names import in_names, names_by_file
from ..engine.judging.measures import CONFIDENCE_FILE
from ..engine.maps.density_map import DensityMap
from ..engine.maps.mrc_file import write_map
from ..engine.options.option import command_line
from ..engine.options.prediction import PREDICTION
from ..engine.options.training import TRAINING
from .alone import show_alone
from .background import BackgroundTask
from .course import atoms_table, checkpoint_text, leg_text, other_version_text, time_text, verdict_text
from .markup import link, quoted, shortened, table
from .messages import Message
from .next_steps import next_steps
from .places import free_folder
from .riders import ATTRIBUTE, CONFIDENCE, FILE, Riders
from .runs import Run, open_command, runs_of
from .settings import user_settings
from .volumes import model_text
from .wording import cannot_be_written, in_models, said_by
from .worker_python import environment, look_for_python, tell_how_to_install, worker_command

_LONGEST_SAID, _MOST_SAID = 2000, 200  # characters of a note or warning, and how many of them
PROGRESS = "CryoTRANS progress"  # trigger of the session, with (job, message); the message None at the end


class Frames(NamedTuple):
    """What is wanted of a prediction.

    Attributes:
        initial_path: the map to carry.
        cut: density below this is left out, map units.
        level: at which the series is shown, map units: its frames enclose what the initial map encloses there.
        weights: the flow; None for the run's own.
        options: others of the program, by their names.
        folder: where the frames go; None for a new folder in the run's.
        name: of the series.
        riders: atoms that come along; their file stands in the options.
    """

    initial_path: Path
    cut: float
    level: float
    weights: Path | None
    options: Mapping[str, object]
    folder: Path | None
    name: str
    riders: Riders | None = None


class CryoTransJob(BackgroundTask):
    """Trains a run, makes the frames of its trajectory, or both, and opens them.

    Attributes:
        folder: what the files are in.
        series: the volume series, once it is open.
        carried: the structure that goes with it, once it is open.
    """

    def __init__(
        self,
        session: Any,
        name: str,
        run: Run,
        python: Path | None,
        training: Mapping[str, object] | None,
        frames: Frames | None,
        opens: bool = True,
        maps: Mapping[Path, DensityMap] = MappingProxyType({}),
    ) -> None:
        """
        Args:
            session: ChimeraX's.
            name: what messages call it, the maps.
            run: the run; its initial map is where the series is placed, and without it nothing is opened.
            python: runs the worker; None to look for it here, in the background.
            training: options of the training program, by their names; None to train no more.
            frames: which frames to make; None for none.
            opens: open them.
            maps: to be written first, by their files: on the task's thread, a window must not wait for it.
        """
        super().__init__(session, name)
        self.folder = run.folder
        self.series: Any = None
        self.carried: Any = None
        self._run, self._python, self._training, self._frames, self._opens = run, python, training, frames, opens
        self._maps, self._map_paths = dict(maps), list(maps)
        self._chosen_python = user_settings(session).python
        self._trained: Message | None = None  # the worker's last words
        self._framed: Message | None = None
        self._legs: list[Message] = []  # those at the end of each leg
        self._weights: Path | None = None  # of the frames
        self._started_with: Message = {"n_steps": 0, "n_frames": 0, "device": "an unknown device"}  # until it says
        self._version: str | None = None  # of the worker
        self._models, self._names = run.models_by_file(), names_by_file(run.models())
        self._said: set[str] = set()  # by both programs, worth saying once
        self.checkpoints: list[Message] = []  # of the training, for who shows its course
        if not session.triggers.has_trigger(PROGRESS):
            session.triggers.add_trigger(PROGRESS)

    # On the task's thread

    def work(self) -> None:
        self._write_maps()
        if self._python is None:
            try:
                self._python = look_for_python(self._chosen_python)
            except UserError:
                self.tell("no_python")
                raise
            if self.leaving:
                return
        if self._training is not None:
            end = self._run_worker("train", command_line(self._training, TRAINING))
            if end is None or (end.get("step", 0) == 0 and end.get("leg", 1) == 1):
                return
        if self._frames is None or self.leaving:
            return
        wanted = self._frames
        self._weights = weights = wanted.weights or self._run.weights()
        flow = "run" if weights is not None and weights.is_dir() else "weight"
        folder = wanted.folder or free_folder(self.folder / "frames")
        call = {"initial_map": wanted.initial_path, "initial_level": wanted.cut, "directory": folder, flow: weights}
        self._run_worker("predict", command_line({**call, **wanted.options}, PREDICTION))

    def _write_maps(self) -> None:
        while self._maps and not self.leaving:
            path = next(iter(self._maps))
            try:
                write_map(path, self._maps.pop(path))
            except OSError as error:
                raise UserError(cannot_be_written(path.parent, error)) from error

    def _run_worker(self, program: str, arguments: Sequence[str]) -> Message | None:
        assert self._python is not None
        command = worker_command(self._python, program, arguments)
        outcome = self.run_program(command, self._run.log_path, environment(self._python))
        if outcome.failure is not None:
            raise UserError(outcome.failure)
        return outcome.end

    # On the main thread

    def take_up(self, message: Message) -> None:
        take_up = getattr(self, f"_take_up_{message['event']}", None)
        if take_up is not None:
            take_up(message)
            self.session.triggers.activate_trigger(PROGRESS, (self, message))

    def _take_up_no_python(self, message: Message) -> None:
        tell_how_to_install(self.session)

    def _take_up_program(self, message: Message) -> None:
        self._version = message["version"]

    def _take_up_start(self, message: Message) -> None:
        if text := other_version_text(self._version):
            self._take_up_warning({"text": text})
        self._started_with = {**self._started_with, **message}
        self._status("training begins" if "n_steps" in message else "making frames")

    def _take_up_note(self, message: Message) -> None:
        self._say_once(self._log, said_by(message))

    def _take_up_warning(self, message: Message) -> None:
        self._say_once(self._warn, said_by(message))

    def _warn(self, text: object) -> None:
        self.session.logger.warning(f"CryoTRANS {self.name}: {text}")

    def _say_once(self, say: Callable[[str], None], text: str) -> None:
        if self._frames is not None and self._frames.riders is not None:
            text = self._frames.riders.in_words(text)
        text = self._in_models(text[:_LONGEST_SAID])
        if text not in self._said and len(self._said) <= _MOST_SAID:
            self._said.add(text)
            say(text if len(self._said) <= _MOST_SAID else f"What more it says is in {self._run.log_path} alone.")

    def _in_models(self, text: str) -> str:
        text = in_models(text, {name: model for name, model in self._models.items() if not model.deleted})
        return in_names(text, self._names)

    def _log(self, text: str, is_html: bool = False) -> None:
        """A short line; under a heading that says whose it is where the one before it was another's."""
        session = self.session
        if getattr(session, "cryotrans_speaker", None) != self.id:
            session.cryotrans_speaker = self.id
            session.logger.info(f"<b>CryoTRANS {html.escape(self.name)}</b>", is_html=True)
        session.logger.info(text, is_html=is_html)

    def _take_up_step(self, message: Message) -> None:
        if self.stopping:
            return  # the line says that it ends
        left = time_text(message["seconds_left"])
        self._status(f"{leg_text(message)}step {message['step']} of {self.n_steps}, about {left} left")

    @property
    def run_of_it(self) -> Run:
        """The run that it trains, or makes frames of."""
        return self._run

    @property
    def verdict(self) -> dict[str, Any] | None:
        """Of the training, of its last leg; None before its end."""
        return self._trained.get("verdict") if self._trained is not None else None

    @property
    def n_steps(self) -> int | None:
        """How many there may be."""
        return self._started_with["n_steps"] or None

    def _take_up_checkpoint(self, message: Message) -> None:
        self.checkpoints.append(message)
        self._log(checkpoint_text(message, self.n_steps))

    def stop(self) -> None:
        """As in `BackgroundTask`; the status line says so."""
        super().stop()
        self._status("stopping: what is done is saved and opened")

    def _take_up_frame(self, message: Message) -> None:
        self._status(f"frame {message['number'] + 1} of {self._started_with.get('n_frames')}")

    def _take_up_end(self, message: Message) -> None:
        if "step" in message:
            self._trained = {**message, "device": self._started_with.get("device")}
            self._legs.append(message)
        else:
            self._framed = message

    def finish(self) -> None:
        session = self.session
        try:
            self._conclude()
        finally:
            self._models.clear()  # ChimeraX keeps tasks that are over; maps that are closed need not stay with them
            session.triggers.activate_trigger(PROGRESS, (self, None))

    def _conclude(self) -> None:
        self._status("")
        self._take_back()
        self._run.forget_closed()
        if self.error is not None:
            self.error = f"CryoTRANS {self.name}: {self._with_way_out(self._in_models(self.error))}"
            if not self.is_waited_for:
                self.session.logger.error(self.error)
            if self._trained is not None:  # all but the frames is there
                self._log(self._table(), is_html=True)
            self._log_links()
            return
        complete = self._framed is not None and self._framed["state"] == "finished"
        if complete and self._opens and not self.leaving and self._run.initial is not None:
            self._open()
        if self._trained is not None or self._framed is not None:
            self._log(self._table(), is_html=True)
        self._log_links()

    def _take_back(self) -> None:
        """What the command has written for work that has not begun would stand in the way of the next try."""
        if self._training is not None:
            self._run.take_back()
            if not self.folder.exists():
                runs_of(self.session).forget(self._run)
            return
        wanted = self._frames
        if wanted is None or wanted.folder is None or any(wanted.folder.glob("frame_*.mrc")):
            return
        for path in (*self._map_paths, wanted.folder / FILE):
            with contextlib.suppress(OSError):
                path.unlink()

    def _status(self, text: str) -> None:
        several = sum(not task.done for task in self.session.tasks.find_by_class(CryoTransJob)) > 1
        self.session.logger.status(f"CryoTRANS{f' {self.name}' if several else ''}: {text}" if text else "")

    def _with_way_out(self, error: str) -> str:
        begun = self._run.can_go_on and self._training is not None and not self._all_is_trained
        if begun and not any(words in error for words in ("checkpoint", "is training in")):  # the worker has said it
            error += f" The last checkpoint is whole: cryotrans resume {quoted(self.folder)} goes on from it."
        if not self._run.log_path.exists():
            return error
        return f"{error}{'' if error.endswith('.') else '.'} The full output is in {self._run.log_path}."

    def _open(self) -> None:
        from .series import open_series

        assert self._frames is not None
        run = self._run
        name = self._frames.name
        self.series = open_series(self.session, self._frame_paths(), name, like=run.initial, level=self._frames.level)
        show_alone(self.session, run, self.series)
        if self._frames.riders is not None and self._framed is not None:
            try:
                atoms_path = Path(self._framed["atoms"]["path"])
                where = atoms_path, self.folder / CONFIDENCE_FILE
                self.carried = self._frames.riders.open(self.session, self.series, *where)
            except UserError as error:
                self._warn(error)

    def _frame_paths(self) -> list[str]:
        assert self._framed is not None
        return [str(Path(self._framed["directory"], name)) for name in self._framed["files"]]

    def _table(self) -> str:
        facts: dict[str, str] = {}  # as HTML
        if (trained := self._trained) is not None:
            facts["Steps"] = f"{leg_text(trained)}{trained['step']} of {trained['n_steps']} ({trained['state']})"
            if trained["loss"] >= 0:  # what is below zero by the transport's rounding tells nobody anything
                facts["Loss"] = f"{trained['loss']:.3g}"
            facts["Mass outside the box"] = f"{trained['mass_outside']:.2%}" if trained["mass_outside"] else ""
            facts["Time"] = f"{time_text(trained['seconds'])} on {trained['device']}"
            verdicts = [(end, verdict_text(end.get("verdict"))) for end in self._legs]
            texts = [f"Leg {end['leg']}: {text}" if "leg" in end else text for end, text in verdicts]
            facts["Verdict"] = html.escape(self._in_models(" ".join(texts)))
        facts["Folder"] = html.escape(shortened(self.folder))
        if trained is not None:
            folders = [f"leg_{end['leg']}" for end in self._legs if "leg" in end]
            reports = [link(f"open {quoted(self.folder / path)}", path.as_posix()) for _, path in self._reports()]
            facts["Files"] = ", ".join([*reports, *(folders or ["net.pt"]), "run.json", "worker.log"])
        if (framed := self._framed) is not None:
            names, folder = framed["files"], Path(framed["directory"])
            inside = folder.name if folder.parent == self.folder else shortened(folder)
            facts["Frames"] = f"{len(names)} in {html.escape(inside)}" if names else "none"
            facts["Made with"] = self._weights.name if self._weights is not None and not self._legs else ""
            if trained is None and framed["mass_outside"]:
                facts["Mass outside the box"] = f"{framed['mass_outside']:.2%}"
            facts.update({name: html.escape(text) for name, text in self._facts_of_atoms(framed).items()})
        return table([f"<b>{key}</b>", text] for key, text in facts.items() if text)

    def _reports(self) -> list[tuple[str, Path]]:
        """What there are reports of, and where in the folder they are: one, or one for each leg."""
        legs = [("it", "") if "leg" not in end else (f"leg {end['leg']}", f"leg_{end['leg']}") for end in self._legs]
        reports = [(what, Path(folder, "report.html")) for what, folder in legs]
        return [(what, path) for what, path in reports if (self.folder / path).is_file()]

    def _facts_of_atoms(self, framed: Message) -> dict[str, str]:
        assert self._frames is not None
        if (riders := self._frames.riders) is None or "atoms" not in framed:
            return {}
        where = f", as {model_text(self.carried)}" if self.carried is not None else ""
        end = 0 if self._frames.options["reverse"] else -1  # of the flow, where atoms have gone farthest
        return atoms_table(framed["atoms"], f"{riders.name}{where}", end)

    @property
    def _all_is_trained(self) -> bool:
        end = self._trained
        return end is not None and end["state"] == "finished" and end.get("leg") == end.get("n_legs")

    def _log_links(self) -> None:
        """What can be done next."""
        lines = []
        if self.series is not None:
            series = f"#{self.series.id_string}"
            lines.append(f"The trajectory {series}: {link(f'vseries play {series}', 'play')}")
            if self._trained is not None and (self.folder / "displacement.mrc").is_file():
                lines.append(f"Color it by {', '.join(self._color_links(series))}")
                if (self.folder / "domains.json").is_file():
                    lines.append(f"What moves as rigid bodies: {link(f'cryotrans domains {series}', 'domains')}")
            if self.carried is not None and self._framed is not None and self._framed["atoms"]["n_outside"]:
                support = f"color byattribute {ATTRIBUTE} #{self.carried.id_string}"
                lines.append(f"Color atoms by {link(support, 'support')}")
            if self.carried is not None and (self.folder / CONFIDENCE_FILE).is_file():
                atoms = (
                    f"color byattribute {CONFIDENCE} #{self.carried.id_string} palette #5a1a00:#e08214:white range 0,1"
                )
                lines.append(f"Color atoms by {link(atoms, 'confidence')}")
        elif self._framed is not None and self._framed["files"]:
            why = "" if self._run.initial is not None else "The initial map has been closed, so nothing was opened. "
            lines.append(f"{why}The frames: {link(open_command(Path(self._framed['directory'])), 'open')}")
        for what, path in self._reports():
            lines.append(f"How far to believe {what}: {link(f'open {quoted(self.folder / path)}', 'report')}")
        if steps := next_steps(self._run, (self.verdict or {}).get("advice") or ()):
            lines.append(f"To try next: {', '.join(link(step.command, step.text.lower()) for step in steps)}")
        if self._training is not None and not self._all_is_trained and self._run.can_go_on:
            lines.append(f"Training that has been stopped: {link(f'cryotrans resume {quoted(self.folder)}', 'resume')}")
        if lines:
            self._log("<br>".join(lines), is_html=True)

    def _color_links(self, series: str) -> list[str]:
        """One for each map of the run that is there and worth a look."""
        found = [link(f"cryotrans color {series}", "motion"), link(f"cryotrans color {series} by strain", "strain")]
        for file, by in ((CONFIDENCE_FILE, "confidence"), ("without_partner.mrc", "partner")):
            if (self.folder / file).is_file():
                found.append(link(f"cryotrans color {series} by {by}", by))
        return found
