"""The measures that a training run keeps of its checkpoints, and which of these is the best."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.errors import InputError
from ..engine.files.run_directory import FINAL_WEIGHTS, RunDirectory
from ..engine.judging.measures import Measures
from ..engine.judging.tables import FSC_FILE, METRICS_FILE, read_fsc, read_metrics, write_fsc, write_metrics
from ..engine.judging.verdict import best_checkpoint, verdict_on
from ..engine.maps.density_map import DensityMap
from .progress import Reporter
from .provenance import describe_parts

if TYPE_CHECKING:
    from ..engine.docking.partners import Part
    from ..engine.flow.velocity import Field
    from ..engine.judging.comparison import Comparison, Measured
    from ..engine.judging.witness import Witness

_SHOWN = ("correlation", "resolution", "transport_distance", "strain", "folded", "held_out", "validation")


class Compared(NamedTuple):
    """Both maps as they are compared, and what compares them."""

    initial: DensityMap
    target: DensityMap
    target_level: float
    blur: float  # Å, standard deviation of the Gaussian that makes the initial map as coarse as the target
    comparison: Comparison
    initial_level: float = 0.0
    ceiling: float | None = None  # correlation that the target's noise leaves, where half maps say what it is


class History:
    """Measures the checkpoints of one run and writes metrics.csv and fsc.csv.

    Args:
        run: where they go; what an earlier part of the run has left there is kept.
        compared: what the measures are of.
        step: from which this part of the run goes on; later checkpoints are forgotten.
        reporter: is told what could not be measured or written; the run does without.
    """

    def __init__(self, run: RunDirectory, compared: Compared, step: int, reporter: Reporter) -> None:
        self.compared, self._reporter = compared, reporter
        self.rows: list[Measures] = []
        self.ended_early = self.has_settled = False  # a recipe, by a limit of steps, or by itself
        self._run, self._weights = run, dict[int, str]()
        self._curves: list[tuple[int, np.ndarray]] = []
        self._last: Measured | None = None
        self._witness: tuple[int, Witness] | None = None  # and the step that it is on
        self._confidence: tuple[int, NDArray[np.float64]] | None = None  # likewise
        with contextlib.suppress(InputError, OSError):  # a new run, or files that cannot be used: there will be others
            weights = {int(key): name for key, name in run.read().get("checkpoints", {}).items()}
            self.rows = [row for row in read_metrics(run / METRICS_FILE) if row.step < step and row.step in weights]
            self._weights = weights
            _, curves = read_fsc(run / FSC_FILE)
            self._curves = [curve for curve in curves if curve[0] < step]

    def leave_out(self, parts: Sequence[Part]) -> None:
        """Measure without parts that have no partner; what was measured with them is measured anew."""
        comparison = self.compared.comparison
        if len(parts) == len(comparison.without_partner):
            return
        comparison.leave_out(parts)
        before, self.rows = self.rows, []
        for row in before:
            weights = self._weights[row.step]
            self.take(self._field(weights), row.step, row.seconds, row.loss, weights)

    def take(self, field: Field, step: int, seconds: float, loss: float, weights: str) -> None:
        """Measure a checkpoint whose weights lie in the file `weights`, and bring the two files up to date."""
        with self._reporter.doing_without("The measures of a checkpoint"):
            self._last = None  # its map would lie beside the one to come
            measured = self.compared.comparison.measure(field, step, seconds, loss)
            # The last checkpoint is saved once more at the end.
            self.rows = [*(row for row in self.rows if row.step != step), measured.measures]
            self._curves = [*(curve for curve in self._curves if curve[0] != step), (step, measured.fsc)]
            self._last = measured
            if self._weights.get(step, FINAL_WEIGHTS) == FINAL_WEIGHTS:
                self._weights[step] = weights
            with self._reporter.doing_without(METRICS_FILE):
                write_metrics(self._run / METRICS_FILE, self.rows)
            with self._reporter.doing_without(FSC_FILE):
                write_fsc(self._run / FSC_FILE, measured.frequencies, self._curves)

    def last_measures(self, step: int) -> dict[str, Any]:
        """What is shown of a checkpoint while training."""
        row = next((row for row in reversed(self.rows) if row.step == step), None)
        if row is None:
            return {}
        return {name: value for name, value in row._asdict().items() if name in _SHOWN and value == value}

    def best(self) -> dict[str, Any] | None:
        """Step and weight file of the best checkpoint, as run.json has it."""
        if not self.rows:
            return None
        row = self.rows[best_checkpoint(self.rows)]
        return {"step": row.step, "weights": self._weights[row.step]}

    def verdict(self) -> dict[str, Any] | None:
        """On the best checkpoint; its advice names options as errors.py says."""
        if not self.rows:
            return None
        best, size = best_checkpoint(self.rows), self.compared.initial.voxel_size
        verdict = verdict_on(
            self.rows,
            best,
            size,
            without_partner=self.without_partner(),
            witness=self.witness(),
            confidence=self.confidence(),
            ceiling=self.compared.ceiling,
            ended_early=self.ended_early,
            has_settled=self.has_settled,
        )
        return {"word": verdict.word, "reasons": list(verdict.reasons), "advice": list(verdict.advice)}

    def ask_witness(self, seed: int) -> None:
        """Dock pieces of the initial by themselves and compare with the flow of the best checkpoint; takes a while.

        Parts that have no partner are left out, as of the measures: they were named already, and fit nowhere.  Voxels
        that were held out are looked at, for the witness judges a flow that is finished and trains nothing.
        """
        from ..engine.docking.partners import without
        from ..engine.judging.witness import witness_of

        best = self.best()
        if best is not None:
            initial, target, target_level, blur, comparison = self.compared[:5]
            levels = (self.compared.initial_level, target_level)
            field, parts = self._field(best["weights"]), comparison.without_partner
            initial, target = without(initial, parts, "initial"), without(target, parts, "target")
            witness = witness_of(initial, target, levels, blur, field, comparison.device, seed)
            self._witness = best["step"], witness

    def witness(self) -> dict[str, Any] | None:
        """What the witness says of the best checkpoint, if it has been asked, as run.json has it."""
        best = self.best()
        if best is None or self._witness is None or self._witness[0] != best["step"]:
            return None
        return {"step": best["step"], **self._witness[1].to_dict(self.compared.initial)}

    def take_confidence(self) -> None:
        """How far the best checkpoint can be believed, place by place; after the witness, whom it heeds."""
        from ..engine.judging.confidence import confidence

        measured = self.measured_of_best()
        if measured is not None:
            initial, comparison = self.compared.initial, self.compared.comparison
            found = confidence(comparison, measured, initial, self.witness())
            self._confidence = measured.measures.step, found

    def confidence_at_points(self) -> NDArray[np.float64] | None:
        """Of the best checkpoint, (n,), if it has been taken; see `Comparison.support`."""
        best = self.best()
        if best is None or self._confidence is None or self._confidence[0] != best["step"]:
            return None
        return self._confidence[1]

    def confidence(self) -> dict[str, Any] | None:
        """The same in short, as run.json has it."""
        from ..engine.judging.confidence import summary

        best, found = self.best(), self.confidence_at_points()
        if best is None or found is None:
            return None
        return summary(found, self.compared.comparison, self.compared.initial, best["step"])

    def without_partner(self) -> list[dict[str, Any]]:
        """Parts that are left out, as run.json has them."""
        initial, target, *_ = self.compared
        return describe_parts(self.compared.comparison.without_partner, initial.name, target.name)

    def measured_of_best(self) -> Measured | None:
        """What was measured of the best checkpoint, measured anew if it is not the last one."""
        best = self.best()
        if best is None:
            return None
        if self._last is not None and self._last.measures.step == best["step"]:
            return self._last
        self._last = None
        row = next(row for row in self.rows if row.step == best["step"])
        self._last = self.compared.comparison.measure(self._field(best["weights"]), row.step, row.seconds, row.loss)
        return self._last

    def _field(self, weights: str) -> Field:
        from ..engine.flow.checkpoint import load_weights

        return load_weights(self._run / weights).to(self.compared.comparison.device)

    def checkpoints(self) -> dict[str, str]:
        """The weight file of each step that was measured, as run.json has it."""
        return {str(row.step): self._weights[row.step] for row in self.rows}
