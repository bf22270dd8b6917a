"""Recipe auto: from two maps to a flow without anything to choose.

    1. Several starts on a coarse grid.  Domains are docked into the target wherever they fit, in several cuts of the
       molecule, and refined.  If they do not explain nearly all, a network follows, by transport and then by
       correlation, which goes the nearest way; if neither explains most, rigid domains of several sizes are trained.
       Which of them has found the right matching is not seen in the loss: they are compared by their correlation with
       the target at finer detail than they were trained on, less a price for strain and folds.  Where both maps have a
       symmetry, flows that keep it compete with free ones, and win if they end alike.
    2. The best goes on from coarse to fine detail, by correlation: both maps blurred at first, at last the
       generated map at the resolution of the target; there domains get smaller ones upon them.

Neighbouring domains are tied, see ties.py.

Every stage ends when nothing improves.  To whoever calls it, the whole is one training: `AutoTraining` has the members
of `Training`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..docking.docked import Poses
from ..docking.partners import Part, partner_text
from ..errors import InputError, first_line
from ..flow.checkpoint import field_of_state, state_of_field
from ..flow.deformation import deformation
from ..flow.domains import CombinedField, DomainField, LayeredField
from ..flow.fields import at_rest, new_field, new_network
from ..flow.price import overall_strain, price
from ..flow.symmetry import Symmetry
from ..flow.ties import Ties
from ..flow.velocity import Field
from ..maps.density_map import DensityMap, voxel_side
from ..maps.preparation import PreparedPair, prepare
from ..maps.segments import Segments
from ..options.training import TrainingOptions
from ..ranks import ALONE, Ranks
from .docked_starts import DockedStarts, Docking, without_parts
from .rivals import rival_of, rival_text
from .saved_state import check_recipe, first_losses, parts_of
from .stages import bin_size_for, planned_stages
from .starts import Start, starts_of
from .training import Training

_STEPS_TO_JUDGE = 50  # a stage ends when this many steps have gained less than a share of all it has gained
_LEAST_GAIN = 0.01
_POINTS_OF_A_DOMAIN = 4  # at least
_SMALL_DOMAINS = 4  # for each docked or trained one, upon it at the finest detail
_MANY_PAIRS = 1 << 22  # of points and domains: with more, where domains meet is held from the beginning, to save time
_TIE = 0.003  # correlation by which a free flow must be better than one that keeps a symmetry of both maps
_FREER = 0.01  # by which a network, which fits more than rigid domains can, must be better than they
_FINE_BLUR = 1.0  # Å, at which starts are compared


class AutoTraining:
    """The stages of the recipe one after the other, with the members of `Training`.

    Args:
        initial, target: on one grid.
        options: levels, seed, symmetry, flow and whatever of depth, width and epsilon is not to be the default.
        target_blur: Å, standard deviation of the Gaussian that makes the initial as coarse as the target.
        symmetry: of both maps; where `options.symmetry` is auto a proposal, and flows without it compete.
        device: where to compute.
        held_out: (nz, ny, nx), voxels of the target that it is not to see.
        segments: parts of the initial to be docked as wholes.
        low_pass: Å, standard deviation of the Gaussians that took the noise off both maps, see `Ties`.
        ranks: that train together; they search for poses together, and the first docks for all.
    """

    def __init__(
        self,
        initial: DensityMap,
        target: DensityMap,
        options: TrainingOptions,
        target_blur: float,
        symmetry: Symmetry | None,
        device: torch.device,
        held_out: NDArray[np.bool_] | None = None,
        segments: Segments | None = None,
        low_pass: float = 0.0,
        ranks: Ranks = ALONE,
    ) -> None:
        self.options = options
        self.step = 0
        self.notes: list[str] = []  # for the user, until taken
        self._maps, self._symmetry, self._device, self._target_blur = (initial, target), symmetry, device, target_blur
        self._held_out, self.ranks = held_out, ranks
        self._voxel_size = voxel_side(initial.voxel_size)
        self._side = max(initial.grid_shape) * self._voxel_size  # Å, of the box
        self._pairs: dict[tuple[float, int], PreparedPair] = {}
        self._ties = Ties(low_pass, self._side)
        self._docking = Docking(self._maps, options, target_blur, device, held_out, segments)
        volume = self._docking.volume if options.flow != "network" else 0.0
        self._starts = ranks.from_first(starts_of(options, symmetry, volume, segments is not None))
        self.stages = planned_stages(
            self._starts,
            self._voxel_size,
            target_blur,
            min(initial.grid_shape),
            lambda bin_size, margin: len(self._pair(bin_size, margin).weights),
        )
        planned = sum(stage.n_steps for stage in self.stages)
        self.n_steps = planned if options.n_steps is None else min(planned, options.n_steps)
        self._losses: list[float] = []  # of the stages before
        self._ended: list[dict[str, Any]] = []  # number, field and score of each start that is done
        self._docked: list[dict[str, Any]] = []  # fields of docked starts to come
        self.without_partner: list[Part] = []  # left out of training, once docking has found it
        self._training: Training
        self.is_sparing = False
        self._begin(0, self._new_field(0) if self.stages[0].start == 0 else at_rest())

    @property
    def velocity(self) -> Field:
        """The field of the present stage."""
        return self._training.velocity

    @property
    def n_points(self) -> int:
        """Of the present stage."""
        return self._training.n_points

    @property
    def finished(self) -> bool:
        """Whether there is no step left to make."""
        return self.has_settled or self.step >= self.n_steps

    @property
    def ended_early(self) -> bool:
        """Whether a limit of steps has ended the recipe before its last stage."""
        return self.finished and self._stage < len(self.stages) - 1

    @property
    def has_settled(self) -> bool:
        """Whether all stages have come to their ends."""
        return self._stage == len(self.stages)

    @property
    def will_dock(self) -> bool:
        """Whether the next update docks first."""
        return self._stage == 0 and self._starts[0].flow == "docked" and not self._docked

    def search(self) -> Poses:
        """This rank's share of what `dock` wants of all; it changes nothing and so may be broken off."""
        return self._docking.search(self.ranks)

    def dock(self, poses: Sequence[Poses]) -> DockedStarts:
        """What `begin_with` wants; it may take minutes, changes nothing and so may be broken off."""
        return self._docking.run(self._starts, self._symmetry, poses)

    def begin_with(self, docked: DockedStarts) -> None:
        """Take over what `dock` has found."""
        if docked.parts:
            self._leave_out(docked.parts)
        self._docked = [state_of_field(field) for field in docked.fields]
        self.notes.append(docked.note)

    @property
    def losses(self) -> list[float]:
        """The loss of every step so far, each of its stage's kind (waits for the device).

        Raises:
            InputError: a loss is not a number: training has diverged.
        """
        return self._losses + self._training.losses

    def mass_outside(self) -> float:
        """As `Training.mass_outside`."""
        return self._training.mass_outside()

    def evaluate(self) -> None:
        """As `Training.evaluate`."""
        self._training.evaluate()

    def spare_memory(self) -> None:
        """As `Training.spare_memory`."""
        self.is_sparing = True
        self._training.spare_memory()

    def update(self) -> None:
        """As `Training.update`; at the end of a stage go on to the next."""
        if self.will_dock:
            poses = self.ranks.gathered(self.search())
            docked = self.ranks.from_first(self.dock(poses) if self.ranks.is_first else None)
            assert docked is not None
            self.begin_with(docked)
        stage = self.stages[self._stage]
        done = self._training.step
        first, last = stage.rates
        self._training.set_learning_rate(first * (last / first) ** (done / stage.n_steps))
        self._training.update()
        self.step += 1
        if self._training.step >= stage.n_steps or self._has_settled():
            self._end_stage()

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on exactly, for the step that was evaluated last."""
        return {
            **self._training.state(),
            "step": self.step,
            "stage": self._stage,
            "stage_step": self._training.step,
            "ended": self._ended,
            "docked": self._docked,
            "without_partner": [part.state() for part in self.without_partner],
            "losses": torch.tensor(self.losses[: self.step + 1], dtype=torch.float64),
            "stage_losses": len(self._losses),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`; its step is to be evaluated again."""
        try:
            self.step, self._ended = int(state["step"]), list(state["ended"])
            self._docked = list(state["docked"])
            check_recipe(state, len(self.stages), len(self._starts))
            if parts := parts_of(state, self._maps[0].grid_shape):
                self._leave_out(parts)
            before = int(state["stage_losses"])
            self._losses = first_losses(state["losses"], before)
            stage = int(state["stage"])  # one beyond the last where all is done
            self._begin(min(stage, len(self.stages) - 1), field_of_state(state["velocity"]))
            self._stage = stage
            self.notes.clear()
            of_stage = {**state, "step": state["stage_step"], "losses": state["losses"][before:]}
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
            raise InputError(
                f"The saved state does not fit this run ({first_line(error)}). Start afresh in another directory."
            ) from error
        self._training.restore(of_stage)

    def _pair(self, bin_size: float, margin: int) -> PreparedPair:
        if (bin_size, margin) not in self._pairs:
            levels = self.options.initial_level, self.options.target_level
            self._pairs[bin_size, margin] = prepare(*self._maps, *levels, bin_size, margin, self._held_out)
        return self._pairs[bin_size, margin]

    def _leave_out(self, parts: list[Part]) -> None:
        """Train without what has no partner."""
        self.without_partner = parts
        self.notes += [partner_text(part, *(each.name for each in self._maps)) for part in parts]
        self._maps = without_parts(self._maps, parts)
        self._pairs.clear()

    def _new_field(self, number: int) -> Field:
        start = self._starts[number]
        if start.flow == "docked":
            return field_of_state(self._docked.pop(0)).to(self._device)
        pair = self._pair(next(stage.bin_size for stage in self.stages if stage.start == number), 0)
        most = max(1, len(pair.weights) // _POINTS_OF_A_DOMAIN)
        options = dataclasses.replace(self.options, n_domains=min(start.n_domains or 1, most))
        return new_field(start.flow, options, pair, self._symmetry if start.symmetry else None)

    def _begin(self, number: int, field: Field) -> None:
        """Go to a stage with a field; the optimiser's memory is kept while field and loss stay the same."""
        self._stage = number
        stage = self.stages[number]
        pair = self._pair(stage.bin_size, stage.margin)
        options = dataclasses.replace(
            self.options,
            loss=stage.loss,
            debiased=stage.loss == "w2",
            learning_rate=stage.rates[0],
            n_steps=stage.n_steps,
        )
        side = stage.bin_size * self._voxel_size  # Å
        blurs = math.hypot(stage.blur, self._target_blur) / side, stage.blur / side
        if isinstance(field, (DomainField, LayeredField, CombinedField)) and (
            number == len(self.stages) - 1 or len(pair.weights) * field.n_domains > _MANY_PAIRS
        ):
            field.hold_centres()
        before = self._training if number else None
        ties = self._ties if stage.loss == "correlation" else None
        self._training = Training(pair, options, field, self._device, blurs, self.ranks, ties)
        if self.is_sparing:
            self._training.spare_memory()
        if before is not None and before.velocity is field and before.options.loss == stage.loss:
            self._training.take_over(before)
        self.notes.append(f"Step {self.step}: {stage.text}, {len(pair.weights)} points.")

    def _has_settled(self) -> bool:
        """Whether the last steps have gained next to nothing of what the stage has gained."""
        done = self._training.step
        if done % _STEPS_TO_JUDGE or done < 3 * _STEPS_TO_JUDGE:
            return False
        means = np.reshape(self._training.losses[:done], (-1, _STEPS_TO_JUDGE)).mean(axis=1)
        return bool(means[-2] - means[-1] < _LEAST_GAIN * (means[0] - means[-1]))

    def _end_stage(self) -> None:
        stage, following = self.stages[self._stage], self._stage + 1
        if following == len(self.stages):
            self._stage = following
            return
        self._losses += self._training.losses[: self._training.step]
        then = self.stages[following]
        field: Field = self._training.velocity
        if stage.start is None and then.start is not None:  # nothing moved so far
            field = self._new_field(then.start)
        elif then.start != stage.start:
            self._ended.append({"start": stage.start, "field": state_of_field(field), "score": self._score(field)})
            best = max(ended["score"] for ended in self._ended)
            while then.start is not None and best > self._starts[then.start].unless:
                following += 1
                then = self.stages[following]
            field = self._new_field(then.start) if then.start is not None else self._best()
        elif following == len(self.stages) - 1 and isinstance(field, DomainField):
            pair = self._pair(then.bin_size, then.margin)
            points = torch.from_numpy((pair.support + 0.5) * pair.voxel).float().to(self._device)
            field = LayeredField.upon(field, points, _SMALL_DOMAINS, self.options.seed)
        self._begin(following, field)

    def _score(self, field: Field) -> float:
        """Correlation with the target at finer detail than the starts are trained on, less the price of deformation."""
        blur = math.hypot(_FINE_BLUR, self._target_blur)
        bin_size = math.floor(bin_size_for(blur, self._voxel_size))
        options = dataclasses.replace(self.options, loss="correlation", n_steps=0)
        side, pair = bin_size * self._voxel_size, self._pair(bin_size, 0)
        training = Training(pair, options, field, self._device, (blur / side, _FINE_BLUR / side), self.ranks)
        points = torch.from_numpy((pair.support + 0.5) * pair.voxel).float().to(self._device)
        change = deformation(field, points, self._maps[0].voxel_size)[1]
        weights = torch.from_numpy(pair.weights / pair.weights.sum()).to(change.strain)
        strain = overall_strain(change.strain, weights)
        folded = float((weights * (change.volume_change <= 0)).sum())
        return self.ranks.from_first(1 - training.loss() - price(strain, folded))

    def _best(self) -> Field:
        starts = [self._starts[ended["start"]] for ended in self._ended]
        scores = [ended["score"] for ended in self._ended]
        handicaps = [_TIE * bool(begun.symmetry) - _FREER * (begun.flow == "network") for begun in starts]
        best = int(np.argmax(np.add(scores, handicaps)))
        if len(scores) > 1:
            said = "; ".join(f"{begun}: {score:.3f}" for begun, score in zip(starts, scores))
            self.notes.append(
                f"Correlation of the starts at fine detail, less the price of strain and folds: {said}. "
                f"Going on with {starts[best]}.{self._who_won(starts[best])}"
            )
            self._tell_of_a_rival(starts, scores, best)
        field = field_of_state(self._ended[best]["field"])
        if isinstance(field, DomainField) and self.options.flow == "both":  # auto: it costs much and mends little
            return CombinedField(field, new_network(self.options, field.symmetry))
        return field

    def _tell_of_a_rival(self, starts: list[Start], scores: list[float], best: int) -> None:
        pair = self._pair(next(stage.bin_size for stage in self.stages if stage.start is not None), 0)
        points = torch.from_numpy((pair.support + 0.5) * pair.voxel).float().to(self._device)
        weights = torch.from_numpy(pair.weights).to(points)
        fields = [field_of_state(ended["field"]).to(self._device) for ended in self._ended]
        if rival := rival_of(fields, scores, best, points, weights, self._side):
            self.notes.append(rival_text(rival, starts, scores, best))

    def _who_won(self, winner: Start) -> str:
        """A sentence on the symmetry, where flows with and without it have competed."""
        if self._symmetry is None or all(begun.symmetry for begun in self._starts):
            return ""
        keeps, why = ("keeps", "") if winner.symmetry else ("does not keep", ": a free one is better")
        return f" The flow {keeps} {self._symmetry.name}{why}."
