"""Which runs there are: those of this session, with their maps, and those that this user has made before.

A run is its folder.  What it did stands there, in run.json; beside it, in maps/, the two maps as the worker got them
and which models they were:

    maps/initial.mrc, maps/target.mrc    the target on the initial's grid
    maps/target_1.mrc, ...               in its place, the targets of a way through several conformations
    maps/initial_mask.mrc, ...           the user's own masks, and the target's half maps, half_1.mrc and half_2.mrc
    maps/models.json                     name and file of the models
    frames/, frames_2/, ...              trajectories
    worker.log                           all that the worker printed

A folder on a network may be out of reach: os.path says no of it where pathlib raises.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimerax.core.state import StateManager
from chimerax.map import Volume

from ..engine.errors import InputError
from ..engine.files.patterns import read_json
from ..engine.files.run_content import MODELS
from ..engine.files.run_directory import FINAL_WEIGHTS, RUN_FILE, STATE_FILE, RunDirectory
from ..engine.files.writing import write_atomically
from .background import BackgroundTask
from .markup import quoted
from .places import found, number_of, remove_empty
from .remote.record import is_away
from .settings import remember_run, user_settings

MAP_FILES = re.compile(r"(initial|validation|segments|(initial|target)_mask|half_[12]|target(_\d+)?)\.mrc|models\.json")
_METADATA_KEY = "CryoTRANS runs"


@dataclass(eq=False)
class Run:
    """A run that this session knows.

    Attributes:
        folder: where all of it is kept.
        initial, target: the models, None where they are not known or have been closed.
        between: models of the conformations on the way, in their order.
        task: what trains or has trained it in this session.
        made: folders that were made for it, the outermost first, if it is new; None for one that was there.
    """

    folder: Path
    initial: Any = None
    target: Any = None
    between: list[Any] = field(default_factory=list)
    task: BackgroundTask | None = field(default=None, repr=False)
    made: list[Path] | None = None

    @property
    def initial_path(self) -> Path:
        return self.folder / "maps" / "initial.mrc"

    @property
    def target_path(self) -> Path:
        return self.folder / "maps" / "target.mrc"

    def target_paths(self) -> list[Path]:
        """Of all the targets: target.mrc for one, target_1.mrc, target_2.mrc, ... for several."""
        if not self.between:
            return [self.target_path]
        return [self.target_path.with_name(f"target_{number}.mrc") for number in range(1, len(self.between) + 2)]

    def models_by_file(self) -> dict[str, Any]:
        """The models by the names of the files that the worker gets of them, in the order of the conformations."""
        files = [self.initial_path, *self.target_paths()]
        models = [self.initial, *self.between, self.target]
        return {path.name: model for path, model in zip(files, models) if model is not None}

    @property
    def validation_path(self) -> Path:
        return self.folder / "maps" / "validation.mrc"

    def mask_path(self, key: str) -> Path:
        """Of the mask of the initial map ("initial") or of the target ("target")."""
        return self.folder / "maps" / f"{key}_mask.mrc"

    @property
    def segments_path(self) -> Path:
        return self.folder / "maps" / "segments.mrc"

    def half_map_paths(self) -> list[Path]:
        """Of the two half maps of the target."""
        return [self.folder / "maps" / f"half_{number}.mrc" for number in (1, 2)]

    @property
    def log_path(self) -> Path:
        return self.folder / "worker.log"

    @property
    def is_active(self) -> bool:
        """Is it being trained in this session?"""
        return self.task is not None and not self.task.done

    def forget_closed(self) -> None:
        """Let go of models that have been closed."""
        if self.initial is not None and self.initial.deleted:
            self.initial = None
        if self.target is not None and self.target.deleted:
            self.target = None
        self.between = [model for model in self.between if not model.deleted]

    def content(self) -> dict[str, Any]:
        """What run.json says, {} if there is none yet.

        Raises:
            InputError: it is damaged.
        """
        if not os.path.isfile(self.folder / RUN_FILE):
            return {}
        content = RunDirectory(self.folder).read()
        if "legs" in content:
            content = {**content, **self._present_leg(content["legs"])}
        try:
            _ = content["step"], content["device"]["asked"], content["initial"]["path"], content["target"]["path"]
            _ = content["n_steps"], content["state"], content["options"]["recipe"], content["options"]["initial_level"]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{self.folder / RUN_FILE} lacks {error}: it was edited, or is another version's."
            ) from error
        return content

    def _present_leg(self, legs: list[str]) -> dict[str, Any]:
        """How far the latest leg is that has begun."""
        for number, leg in reversed(list(enumerate(legs, start=1))):
            with contextlib.suppress(InputError):
                content = RunDirectory(self.folder / leg).read()
                return {"leg": number, **{key: content.get(key) or 0 for key in ("step", "n_steps", "loss")}}
        return {"leg": 1, "step": 0, "n_steps": 0}

    @property
    def can_go_on(self) -> bool:
        """Has it a state to resume from?"""
        return any(os.path.isfile(self.folder / path) for path in (STATE_FILE, Path("leg_1", STATE_FILE)))

    def write_models(self) -> None:
        """Note which models the maps were."""

        def description(model: Any) -> dict[str, str | None]:
            return {"name": model.name, "path": source_of(model)}

        described: dict[str, Any] = {"initial": description(self.initial), "target": description(self.target)}
        if self.between:
            described["between"] = [description(model) for model in self.between]
        path = self.initial_path.parent / "models.json"
        write_atomically(path, (json.dumps(described, indent=1) + "\n").encode())

    def take_back(self) -> None:
        """Remove the maps of a new run, and the folders made for it, if the worker has not begun it."""
        if self.made is None or (self.folder / RUN_FILE).exists() or is_away(self.folder) is not None:
            return
        maps = self.initial_path.parent
        with contextlib.suppress(OSError):
            for path in [path for path in maps.iterdir() if MAP_FILES.fullmatch(path.name)]:
                path.unlink()
        remove_empty([*self.made, maps])

    def models(self) -> dict[str, Any]:
        """What `write_models` noted; for a run of the programs, what run.json says of its maps."""
        with contextlib.suppress(OSError, ValueError):
            return read_json(self.initial_path.parent / "models.json", MODELS)
        with contextlib.suppress(InputError, KeyError):
            content = self.content()
            described: dict[str, Any] = {key: _of_path(content[key]["path"]) for key in ("initial", "target")}
            if "targets" in content:
                described["between"] = [_of_path(target["path"]) for target in content["targets"][:-1]]
            return described
        return {}

    def title(self) -> str:
        """ "A → B", "A → B → C"."""
        models = self.models()
        return " → ".join([models["initial"]["name"], *self.names_of_targets()]) if models else self.folder.name

    def names_of_targets(self) -> list[str]:
        """In their order; none where they are not known."""
        models = self.models()
        return [model["name"] for model in (*models.get("between", ()), models["target"])] if models else []

    def state(self) -> str:
        """running, interrupted, stopped, finished, failed, not begun, damaged, gone, on MACHINE; or unknown.

        The last where run.json says that it is running, and on that disk nothing can tell whether that is still so.
        """
        if self.is_active:
            return "running"
        if not os.path.isdir(self.folder):
            return "gone"
        if (record := is_away(self.folder)) is not None:
            return f"on {record.machine}"
        try:
            state = self.content().get("state", "not begun")
        except InputError:
            return "damaged"
        if state == "running":
            words = {True: "running", False: "interrupted", None: "unknown"}
            return words[RunDirectory(self.folder).is_locked()]
        return state

    def frames(self) -> list[Path]:
        """The folders of the trajectories that are there, the latest last."""
        folders = [path for path in found(self.folder, "frames*") if found(path, "frame_*.mrc")]
        return sorted(folders, key=lambda path: (number_of(path), path.name))

    def weights(self, checkpoint: int | str | None = None) -> Path | None:
        """The weight file of a checkpoint, None if it is not there; of a run of several legs, its folder.

        Args:
            checkpoint: its number, "last", or "best", which run.json names; None for the best, else the last.
        """
        if os.path.isdir(self.folder / "leg_1"):
            begun = checkpoint in (None, "best") and Run(self.folder / "leg_1").weights() is not None
            return self.folder if begun else None
        if isinstance(checkpoint, int):
            numbered = self.folder / f"net_{checkpoint}.pt"
            return numbered if os.path.isfile(numbered) else None
        if checkpoint != "last":
            best = self._best_weights()
            if best is not None or checkpoint == "best":
                return best
        if os.path.isfile(self.folder / FINAL_WEIGHTS):
            return self.folder / FINAL_WEIGHTS
        kept = [path for path in found(self.folder, "net_*.pt") if path.stem[4:].isdigit()]
        return max(kept, key=lambda path: int(path.stem[4:]), default=None)

    def _best_weights(self) -> Path | None:
        try:
            path = self.folder / self.content()["best"]["weights"]
        except (InputError, KeyError, TypeError):  # damaged, not begun, not measured, or of an earlier version
            return None
        return path if os.path.isfile(path) else None


class Runs(StateManager):
    """The runs of a session."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def __iter__(self) -> Any:
        return iter(self._runs)

    def add(self, session: Any, run: Run) -> None:
        """Take a run in as the latest, in the place of what was known of its folder."""
        self._runs = [other for other in self._runs if other.folder != run.folder]
        self._runs.append(run)
        remember_run(session, run.folder)

    def forget(self, run: Run) -> None:
        """One that has not come to be."""
        self._runs = [other for other in self._runs if other is not run]

    def find(self, folder: Path) -> Run | None:
        return next((run for run in self._runs if run.folder == folder), None)

    def last_on(self, session: Any, model: Any) -> Run | None:
        """The latest run with weights whose initial map this model is; else, of all runs of the user, its file."""
        for run in reversed(self._runs):
            if run.initial is model and run.weights() is not None:
                return run
        path = source_of(model)
        if path is None:
            return None
        for run in known_runs(session):
            paths = (run.models().get("initial", {}).get("path"), str(run.initial_path))
            if path in paths and run.weights() is not None:
                return run
        return None

    # What ChimeraX asks

    @classmethod
    def include_state(cls, runs: Runs) -> bool:
        """Not in session files, which a ChimeraX without this bundle would refuse to open: see `attend_sessions`."""
        return False

    def take_snapshot(self, session: Any, flags: int) -> dict[str, Any]:
        return {}

    @classmethod
    def restore_snapshot(cls, session: Any, data: dict[str, Any]) -> Runs:
        return runs_of(session)

    def reset_state(self, session: Any) -> None:
        """The session is closed, or another is opened in its place: what works on its maps is to end."""
        for task in session.tasks.find_by_class(BackgroundTask):
            if task.belongs_to_session and not task.done:
                task.terminate()
            elif task.done and task.id in session.tasks:  # ChimeraX keeps what is over, and all that it holds
                session.tasks.remove(task)
        self._runs = []


def runs_of(session: Any) -> Runs:
    """The session's runs."""
    if not hasattr(session, "cryotrans_runs"):
        session.cryotrans_runs = Runs()
    return session.cryotrans_runs


def attend_sessions(session: Any) -> None:
    """Have the session's runs saved and restored with it, in its metadata.

    To be called when ChimeraX starts the bundle, so that it has been before a session is opened.
    """
    session.triggers.add_handler("begin save session", _on_save)
    session.triggers.add_handler("end restore session", _on_restore)


def _on_save(_: str, session: Any) -> None:
    saved = []
    for run in runs_of(session):
        run.forget_closed()
        saved.append({"folder": str(run.folder), "initial": _name_of(run.initial), "target": _name_of(run.target)})
    session.metadata.pop(_METADATA_KEY, None)
    if saved:
        session.metadata[_METADATA_KEY] = saved


def _on_restore(_: str, session: Any) -> None:
    runs = runs_of(session)
    for saved in session.metadata.get(_METADATA_KEY, ()):
        folder = Path(saved["folder"])
        if runs.find(folder) is None:  # else this session is working on it
            runs._runs.append(Run(folder, _of_name(session, saved["initial"]), _of_name(session, saved["target"])))


def _name_of(model: Any) -> str | None:
    return f"#{model.id_string} {model.name}" if model is not None else None


def _of_name(session: Any, name: str | None) -> Any:
    """The map that `_name_of` has named, None if it did not come back."""
    return next((model for model in session.models.list(type=Volume) if _name_of(model) == name), None)


def known_runs(session: Any) -> list[Run]:
    """The session's runs and the recent ones of this user that are still there, the latest first."""
    runs = list(runs_of(session))[::-1]
    known = {run.folder for run in runs}
    recent = [Path(folder) for folder in user_settings(session).recent_runs]
    return runs + [Run(folder) for folder in recent if folder not in known and os.path.isdir(folder)]


def source_of(model: Any) -> str | None:
    """The file that a map was opened from, None if it has none."""
    path = getattr(model.data, "path", None)
    return str(Path(path).absolute()) if isinstance(path, str) and path else None


def _of_path(path: str) -> dict[str, str]:
    return {"name": Path(path).stem, "path": path}


def open_command(frames: Path) -> str:
    """What to type to open the frames in a folder as a volume series."""
    # `open` types it anew for itself, and then leaves a semicolon unquoted: a pattern has another sign for it.
    folder = Path(glob.escape(str(frames)).replace(";", "?"))
    return f"open {quoted(folder / 'frame_*.mrc')} vseries true"
