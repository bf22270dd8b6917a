"""cryotrans-train with several targets: a morph through several conformations, one flow for each leg of the way.

    run.json       what was asked, the maps, and `state` of the whole
    leg_1, leg_2 … a run each, as run_directory.py lists its files
    generated.mrc  in each of them but the last: the initial map, carried along all flows so far, with which the next
                   leg begins

The density is always that of the first map, carried anew from its own grid along all flows in turn, so that a leg blurs
it no more than a single flow would.  Every leg begins at the level that keeps as many voxels as the first one kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.errors import InputError, named
from ..engine.files.patterns import check
from ..engine.files.run_directory import FINAL_WEIGHTS, GENERATED_MAP, PROGRAM, RUN_FILE, STATE_FILE, RunDirectory
from ..engine.maps.density_map import DensityMap
from ..engine.maps.mrc_file import read_map, write_map
from ..engine.maps.preparation import above_level
from ..engine.options.training import TRAINING
from . import training as training_program
from .pair import inputs_of, map_of_run, missing_text, read_pair
from .progress import Reporter, SilentReporter, in_a_sentence
from .provenance import describe, now
from .stop_request import StopRequest

if TYPE_CHECKING:
    from ..engine.ranks import Ranks

_OF_ONE_FLOW = ("weight", "validation_map", "initial_mask", "target_mask", "half_maps", "segments")
_OF_THE_CALL = ("device", "gpu", "progress", "stop_with_input", "directory", "resume", "overwrite")
_OF_THE_MAPS = ("initial_map", "initial_level", "target_map", "target_level")


def train(
    said: dict[str, Any], command: list[str], reporter: Reporter, stop: StopRequest, ranks: Ranks | None = None
) -> None:
    """Train one flow, or a leg for each target; arguments and errors as in training.py.

    Args:
        said: `target_map` and `target_level` are lists.
    """
    targets = said.get("target_map", [])
    whole = RunDirectory(Path(said.get("directory", "")))
    going_on = said.get("resume") and "directory" in said and not said.get("overwrite")
    content: dict[str, Any] = whole.read() if going_on else {}
    if "legs" in content:
        with whole.locked():
            _Legs(whole, whole.read(), said, command, reporter, stop, ranks).resume()
        return
    if len(targets) < 2:
        one: dict[str, Any] = {name: said[name][-1] for name in ("target_map", "target_level") if name in said}
        if len(targets) == 1 and len(said.get("target_level", ())) > 1:
            raise InputError(_unequal_text(targets, said["target_level"]))
        training_program.train({**said, **one}, command, reporter, stop, ranks=ranks)
        return
    if said.get("resume"):
        raise InputError(f"The run in {whole.path} has one target, not {len(targets)}.")
    _begin(whole, said, command, reporter, stop, ranks)


def _begin(
    whole: RunDirectory,
    said: dict[str, Any],
    command: list[str],
    reporter: Reporter,
    stop: StopRequest,
    ranks: Ranks | None,
) -> None:
    """A new run; whatever can be said against it is said before the directory is made."""
    targets, levels = said.get("target_map", []), said.get("target_level", [])
    for name in _OF_ONE_FLOW:
        if name in said:
            raise InputError(
                f"{named(name)} belongs to one flow, and several targets ({named('target_map')}) make several. Leave "
                f"it out."
            )
    missing = [name for name in ("directory", "initial_map", "initial_level") if name not in said]
    if missing:
        raise InputError(missing_text(missing))
    if len(levels) == 1:
        levels = levels * len(targets)
    if len(levels) != len(targets):
        raise InputError(_unequal_text(targets, levels))
    maps = [said["initial_map"], *targets]
    for path in maps:
        if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
            raise InputError(f"{path} is no file: with several targets every map is read several times.")
    for before, after in zip(maps, maps[1:]):
        if Path(before).exists() and Path(after).exists() and Path(before).samefile(after):
            raise InputError(f"{after} comes twice in a row: every leg must lead from one map to another.")
    whole.check_free(said.get("overwrite", False), inputs_of(said))
    described: list[dict[str, Any]] = []
    initial: DensityMap | None = None
    for target, level in zip(targets, levels):
        pair = {**said, "target_map": target, "target_level": level}
        initial, on_grid, *_ = read_pair(pair, SilentReporter())  # said again by the leg itself
        described.append(describe(on_grid, target, level))
    assert initial is not None
    content = {
        "program": PROGRAM,
        "files": [RUN_FILE],
        "command": command,
        "state": "running",
        "legs": [f"leg_{number}" for number in range(1, len(targets) + 1)],
        "options": {"recipe": said.get("recipe", "cryotrans"), "initial_level": said["initial_level"]},
        "arguments": {key: value for key, value in said.items() if key not in (*_OF_THE_CALL, *_OF_THE_MAPS)},
        "initial": describe(initial, said["initial_map"], said["initial_level"]),
        "target": described[-1],
        "targets": described,
        "device": {"asked": said["device"], "gpu": said["gpu"]},
        "started": now(),
    }
    with contextlib.ExitStack() as stack:
        _Legs(whole, content, said, command, reporter, stop, ranks).begin(stack)


class _Legs:
    """The legs of one run, trained one after another."""

    def __init__(
        self,
        whole: RunDirectory,
        content: dict[str, Any],
        said: dict[str, Any],
        command: list[str],
        reporter: Reporter,
        stop: StopRequest,
        ranks: Ranks | None = None,
    ) -> None:
        self._whole, self._content, self._said, self._command = whole, content, said, command
        self._reporter, self._stop, self._ranks = reporter, stop, ranks
        self._n_legs = len(content["legs"])

    def begin(self, stack: contextlib.ExitStack) -> None:
        """All legs of a new run; the stack keeps its lock."""

        def make() -> None:
            stack.enter_context(self._whole.made(self._said.get("overwrite", False)))
            self._write("running")
            entered.append(True)

        entered: list[bool] = []
        try:
            self._new(1, make)
            self._go_on(2)
        except BaseException as error:
            if entered:
                self._end(error)
            raise

    def resume(self) -> None:
        """The first leg that is not finished, and those after it."""
        self._check_it_says_enough()
        self._check_same_run()
        said, content = self._said, self._content
        first = next((number for number in range(1, self._n_legs + 1) if not self._is_done(number)), None)
        if first is None:
            raise InputError(
                f"All {self._n_legs} legs of the run in {self._whole.path} are finished. For more steps start a new "
                f"run in another directory."
            )
        moved = said.get("target_map", [target["path"] for target in content["targets"]])
        places = [
            map_of_run("target", {"target": target}, {"target_map": path})
            for target, path in zip(content["targets"], moved)
        ]
        initial = map_of_run("initial", content, said)
        self._content = {
            **content,
            "initial": {**content["initial"], "path": str(Path(initial).absolute())},
            "targets": [
                {**target, "path": str(Path(place).absolute())} for target, place in zip(content["targets"], places)
            ],
        }
        self._content["target"] = self._content["targets"][-1]
        changed = {name: said[name] for name in ("n_steps", "no_report") if name in said}
        self._content["arguments"] = {**content["arguments"], **changed}
        self._write("running")
        try:
            self._go_on(first)
        except BaseException as error:
            self._end(error)
            raise

    def _go_on(self, first: int) -> None:
        for number in range(first, self._n_legs + 1):
            if self._stop:
                break
            if (self._leg(number) / STATE_FILE).is_file():
                self._resume(number)
            else:
                self._new(number)
        done = all(self._is_done(number) for number in range(1, self._n_legs + 1))
        self._write("finished" if done else "stopped")

    def _new(self, number: int, make: Callable[[], object] | None = None) -> None:
        content = self._content
        path, level = content["initial"]["path"], content["initial"]["level"]
        if number > 1:
            path, level = self._generate(number - 1)
        target = content["targets"][number - 1]
        leg = {
            **content["arguments"],
            **self._of_the_call(),
            "initial_map": path,
            "initial_level": level,
            "target_map": target["path"],
            "target_level": target["level"],
            "directory": str(self._leg(number).path),
            "overwrite": True,  # what broke off before its first checkpoint
        }
        self._train(number, leg, make)

    def _resume(self, number: int) -> None:
        before = self._leg(number - 1) / GENERATED_MAP
        leg = {
            **self._of_the_call(),
            "resume": True,
            "initial_map": str(before) if number > 1 else self._content["initial"]["path"],
            "target_map": self._content["targets"][number - 1]["path"],
            "directory": str(self._leg(number).path),
        }
        leg.update({name: self._said[name] for name in ("n_steps", "no_report") if name in self._said})
        self._train(number, leg)

    def _train(self, number: int, said: dict[str, Any], make: Callable[[], object] | None = None) -> None:
        self._reporter.begin_leg(number, self._n_legs)
        names = [description["name"] for description in (self._content["initial"], *self._content["targets"])]
        self._reporter.note(f"Leg {number} of {self._n_legs}: {names[number - 1]} to {names[number]}.")
        leg = {"number": number, "of": self._n_legs}
        training_program.train(said, self._command, self._reporter, self._stop, leg, make, self._ranks)

    def _of_the_call(self) -> dict[str, Any]:
        """What may differ from one call of the program to the next."""
        said = {name: self._said[name] for name in _OF_THE_CALL[:4] if name in self._said}
        if said["device"] == "auto" and said["gpu"] is None:
            said["device"], said["gpu"] = self._content["device"]["asked"], self._content["device"]["gpu"]
        return said

    def _generate(self, number: int) -> tuple[str, float]:
        """The initial map at the end of a leg: its file, and the level that keeps of it what the first leg kept."""
        from ..engine.carrying.prediction import predict
        from ..engine.device import choose_device
        from ..engine.flow.checkpoint import load_weights
        from ..engine.maps.conditioning import molecule_of
        from ..engine.maps.preparation import level_of_same_volume

        call = self._of_the_call()
        device, _ = choose_device(call["device"], call["gpu"])
        initial, level = read_map(self._content["initial"]["path"]), self._content["initial"]["level"]
        if self._leg(1).read()["options"].get("conditioning") == "auto":
            initial, _ = molecule_of(initial, level)
        fields = [load_weights(self._leg(leg).weights("best")) for leg in range(1, number + 1)]
        [end] = predict(initial, fields, device, times=[1.0])
        if not (end.density_map.density > 0).any():
            raise InputError(f"Leg {number} carries all of {initial.name} out of its box. Use maps in a larger box.")
        kept = int(np.count_nonzero(above_level(initial, level)))
        path = self._leg(number) / GENERATED_MAP
        write_map(path, end.density_map)
        return str(path), level_of_same_volume(end.density_map.density, kept)

    def _leg(self, number: int) -> RunDirectory:
        return RunDirectory(self._whole / f"leg_{number}")

    def _is_done(self, number: int) -> bool:
        """Whether it needs no more training; also one that was killed when all but its last files were there."""
        leg = self._leg(number)
        try:
            content = leg.read()
        except InputError:
            return False
        n_steps = self._said.get("n_steps", content["options"].get("n_steps"))
        made_all = content["options"].get("recipe") != "auto" and content.get("step", 0) >= n_steps
        has_ended = content.get("state") == "finished" or (made_all and (leg / STATE_FILE).is_file())
        return has_ended and (leg / FINAL_WEIGHTS).is_file()

    def _check_it_says_enough(self) -> None:
        content = self._content
        map_of_it = {"level": float, "name": str, "sha256": (str, None)}
        try:
            check(content, {"arguments": {}, "device": {}, "initial": map_of_it, "targets": [map_of_it]})
            if len(content["targets"]) != self._n_legs:
                raise ValueError(f"{self._n_legs} legs, {len(content['targets'])} targets")
        except ValueError as error:
            raise InputError(
                f"{self._whole / RUN_FILE} lacks what resuming needs ({error}): it was edited, or another version "
                f"wrote it. Start a new run in another directory."
            ) from error

    def _check_same_run(self) -> None:
        """Options given again on resuming must be those of the run."""
        content, said = self._content, self._said
        recorded = {**content["arguments"], "initial_level": content["initial"]["level"]}
        levels = [target["level"] for target in content["targets"]]
        given = said.get("target_level", levels)
        if (given * self._n_legs if len(given) == 1 else given) != levels:
            raise InputError(
                f"The run was begun with the levels ({named('target_level')}) {levels}. With {named('resume')} leave "
                f"them out."
            )
        if len(said.get("target_map", levels)) != self._n_legs:
            raise InputError(
                f"The run has {self._n_legs} targets: with {named('resume')} give all of them "
                f"({named('target_map')}), or none."
            )
        for name, value in said.items():
            if TRAINING[name].on_resume == "free" or name == "target_level":
                continue
            if name in _OF_ONE_FLOW or recorded.get(name) != value:
                raise InputError(
                    f"The run was begun with other options: {named(name)} was {recorded.get(name)}, not {value}. With "
                    f"{named('resume')} leave it out, or start a new run in another directory."
                )

    def _write(self, state: str, **more: Any) -> None:
        self._whole.write({**self._content, "state": state, "updated": now(), **more})

    def _end(self, error: BaseException) -> None:
        """Say in run.json why it ended, if that can still be written."""
        with contextlib.suppress(OSError):
            if isinstance(error, BrokenPipeError) or not isinstance(error, Exception):
                self._write("stopped")
            else:
                self._write("failed", message=self._reporter.worded(in_a_sentence(error)))


def _unequal_text(targets: Sequence[str], levels: Sequence[float]) -> str:
    return (
        f"Targets ({named('target_map')}) given: {len(targets)}, levels ({named('target_level')}): {len(levels)}. "
        f"Give a level for each target, or one for all."
    )
