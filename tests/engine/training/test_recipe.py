"""Recipe auto on small phantoms: it finds the motion, chooses among starts, ends by itself, and can be broken off."""

import numpy as np
import pytest
import torch
from phantoms import LEVEL, MOTION, MOVING, SHAPE, VOXEL_SIZE, two_domains

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.docking.partners import Part
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.checkpoint import state_of_field
from chimerax.cryotrans.engine.flow.domains import DomainField, LayeredField
from chimerax.cryotrans.engine.flow.integration import displacement
from chimerax.cryotrans.engine.flow.symmetry import point_group
from chimerax.cryotrans.engine.flow.ties import Ties
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.training.docked_starts import DockedStarts
from chimerax.cryotrans.engine.training.recipe import AutoTraining

CPU = torch.device("cpu")


def _maps() -> tuple[DensityMap, DensityMap]:
    return tuple(DensityMap(two_domains(time), VOXEL_SIZE, name=f"t = {time:g}") for time in (0, 1))


def _auto(flow: str = "auto", n_steps: int | None = None, low_pass: float = 0.0) -> AutoTraining:
    options = TrainingOptions(
        LEVEL,
        LEVEL,
        n_steps=n_steps,
        period=50,
        width=20,
        recipe="auto",
        flow=flow,
        n_domains=2 if flow != "auto" else None,
    )
    return AutoTraining(*_maps(), options, 0.0, None, CPU, low_pass=low_pass)


def _run(training: AutoTraining, until: int = 10**9) -> AutoTraining:
    training.evaluate()
    while not training.finished and training.step < until:
        training.update()
        training.evaluate()
    return training


def _error(training: AutoTraining) -> float:
    """How far from its true place the moving domain's centre ends, voxels."""
    size = np.array(VOXEL_SIZE)
    [end] = carry(np.array([MOVING]) * size, _maps()[0], training.velocity)
    return float(np.linalg.norm(end / size - np.array(MOVING) - np.array(MOTION)))


@pytest.fixture(scope="module")
def of_a_network() -> AutoTraining:
    return _run(_auto("network"))


def test_the_recipe_finds_the_motion_and_ends(of_a_network):
    assert np.linalg.norm(MOTION) > 3
    assert _error(of_a_network) < 0.3
    assert of_a_network.finished
    assert of_a_network.step <= of_a_network.n_steps
    assert len(of_a_network.losses) == of_a_network.step + 1


def test_every_stage_is_told(of_a_network):
    told = [note.split(": ", 1)[1] for note in of_a_network.notes]
    assert [text.split(",")[0] for text in told] == [stage.text for stage in of_a_network.stages]


def test_a_stage_that_has_settled_ends_early(of_a_network):
    assert of_a_network.step < of_a_network.n_steps


def test_domains_find_it_too():
    training = _run(_auto("domains"))
    assert _error(training) < 0.5


@pytest.mark.parametrize("low_pass", [0.0, 2.0])  # Å: of clean maps, of noisy ones
def test_domains_are_tied_wherever_correlation_is_trained_on_and_get_small_ones_at_last(low_pass):
    training = _auto("domains", low_pass=low_pass)
    # Two steps, so that domains which begin at rest have moved before a stage of transport ends.
    training.stages = [stage._replace(n_steps=2) for stage in training.stages]
    docked = DomainField.spread_over(torch.rand(50, 3, generator=torch.Generator().manual_seed(0)), 6)
    with torch.no_grad():
        docked.translations += 0.05 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    training.begin_with(DockedStarts([docked] * 4, [], ""))
    training.evaluate()
    ties, losses = Ties(low_pass, max(SHAPE) * VOXEL_SIZE[0]), set()
    while training.step < 2 * len(training.stages) - 1:
        training.update()
        training.evaluate()
        stage = training.stages[training._stage]
        cost = ties.between(training.velocity)().item()
        assert cost > 1e-4 or training._training.step == 0 or "nothing moves" in stage.text
        expected = cost if stage.loss == "correlation" else 0.0
        assert training.losses[-1] - training._training.loss() == pytest.approx(expected, abs=1e-6), stage.text
        losses.add(stage.loss)
    assert losses == {"w2", "correlation"}
    assert isinstance(training.velocity, LayeredField)


def _scored(monkeypatch, scores: dict[str, float]) -> tuple[AutoTraining, list[str]]:
    """A run of short stages in which starts score what is given, else 0.2; and those that were tried."""
    training = _auto()
    tried = []

    def score(field):
        tried.append(str(training._starts[training.stages[training._stage].start]))
        return scores.get(tried[-1], 0.2)

    monkeypatch.setattr(training, "_score", score)
    monkeypatch.setattr(training, "stages", [stage._replace(n_steps=2) for stage in training.stages])
    return _run(training), tried


CUTS = [f"docked domains, cut {k}" for k in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("scores", "tried"),
    [
        ({"12 domains": 0.8}, [*CUTS, "network", "12 domains", "24 domains"]),
        ({CUTS[2]: 0.96}, CUTS),
        ({CUTS[2]: 0.92}, [*CUTS, "network"]),
        ({"network": 0.96}, [*CUTS, "network"]),
    ],
)
def test_the_best_start_goes_on_and_what_explains_the_target_ends_the_search(monkeypatch, scores, tried):
    training, found = _scored(monkeypatch, scores)
    assert found == tried
    winner = max(scores, key=scores.get)
    assert any(f"Going on with {winner}." in note for note in training.notes), training.notes
    assert any("refinement at coarse detail" in note for note in training.notes)


def test_docked_domains_are_a_start_that_is_only_refined():
    training = _auto()
    number = [str(start) for start in training._starts].index("docked domains, cut 1")
    [stage] = [stage for stage in training.stages if stage.start == number]
    refining = next(stage for stage in training.stages if stage.start is None)
    assert (stage.loss, stage.blur, stage.bin_size) == ("correlation", refining.blur, refining.bin_size)


def test_a_broken_recipe_does_not_dock_again(monkeypatch):
    def short() -> AutoTraining:
        training = _auto()
        training.stages = [stage._replace(n_steps=5) for stage in training.stages]
        return training

    whole, broken = _run(short(), 18), _run(short(), 13)
    assert broken.stages[broken._stage].text.startswith("start 2 of 7, docked domains, cut 2")
    state = broken.state()
    monkeypatch.setattr("chimerax.cryotrans.engine.training.docked_starts.dock_domains", None)
    again = short()
    again.restore(state)
    _run(again, 18)
    np.testing.assert_array_equal(again.losses, whole.losses)


def test_the_first_checkpoint_is_that_of_the_maps_as_they_are(monkeypatch):
    monkeypatch.setattr("chimerax.cryotrans.engine.training.docked_starts.dock_domains", None)  # it comes later
    training = _auto()
    training.evaluate()
    points = torch.rand(5, 3)
    assert displacement(training.velocity, points).abs().max() == 0
    assert "docked" in training.notes[0]


def _proposed(monkeypatch, scores: list[float], symmetry: str) -> AutoTraining:
    """With a symmetry of two, and what each start is to score."""
    group = point_group("C2", torch.tensor([10.0, 12.0, 14.0]) / 28).to(torch.zeros(1))
    options = TrainingOptions(
        LEVEL, LEVEL, n_steps=None, period=50, width=8, recipe="auto", flow="auto", symmetry=symmetry
    )
    training = AutoTraining(*_maps(), options, 0.0, group, CPU)
    left = iter(scores)
    monkeypatch.setattr(training, "_score", lambda field: next(left))
    monkeypatch.setattr(training, "stages", [stage._replace(n_steps=1) for stage in training.stages])
    return _run(training)


@pytest.mark.parametrize(
    ("kept", "free", "said"),
    [
        (0.9, 0.5, "Going on with 8 domains in C2. The flow keeps C2."),
        (0.9, 0.902, "Going on with 8 domains in C2. The flow keeps C2."),  # as good as alike
        (0.9, 0.91, "Going on with 12 domains. The flow does not keep C2: a free one is better."),
    ],
)
def test_a_symmetry_that_is_proposed_must_win(monkeypatch, kept, free, said):
    training = _proposed(monkeypatch, [*[0.1] * 6, kept, 0.1, free, 0.1], "auto")
    assert training.notes[-4].endswith(said), training.notes
    symmetry = training.velocity.symmetry
    assert (symmetry is not None) == ("keeps C2" in said)
    assert state_of_field(training.velocity).get("symmetry", {}).get("name") == ("C2" if symmetry else None)


def test_a_symmetry_that_is_told_has_no_rival(monkeypatch):
    training = _proposed(monkeypatch, [0.1, 0.9, 0.1], "C2")
    assert training.velocity.symmetry.order == 2


@pytest.mark.parametrize("until", [3, 40, 155])
def test_a_broken_recipe_goes_on_exactly(monkeypatch, until):
    monkeypatch.setattr("chimerax.cryotrans.engine.training.recipe._LEAST_GAIN", -1.0)

    def short(training: AutoTraining) -> AutoTraining:
        training.stages = [stage._replace(n_steps=30) for stage in training.stages]
        return training

    whole = _run(short(_auto("domains")), until + 20)
    broken = _run(short(_auto("domains")), until)
    again = short(_auto("domains"))
    again.restore(broken.state())
    _run(again, until + 20)
    assert again.step == whole.step
    np.testing.assert_array_equal(again.losses, whole.losses)


def test_a_limit_of_steps_ends_it():
    training = _run(_auto("network", n_steps=7))
    assert (training.step, training.n_steps, len(training.losses)) == (7, 7, 8)


def test_a_state_of_something_else_is_refused():
    with pytest.raises(InputError, match="does not fit this run"):
        _auto("network").restore({"step": 3})


def test_what_has_no_partner_is_left_out_of_training_and_stays_so_when_resumed(monkeypatch):
    moving = np.indices(_maps()[0].grid_shape)[2] > 13
    part = Part("initial", 0.4, (13.0, 19.0, 27.0), moving)
    where = "chimerax.cryotrans.engine.training.docked_starts.parts_without_partner"
    n_before = _auto().n_points
    monkeypatch.setattr(where, lambda docked, grid: [part])
    training = _run(_auto(), 2)
    assert training.without_partner == [part] and training.n_points < 0.7 * n_before
    assert any("A part of t = 0 round 27, 19, 13 Å with 40% of its density" in note for note in training.notes)
    state = training.state()
    monkeypatch.setattr(where, None)
    again = _auto()
    again.restore(state)
    assert again.n_points == training.n_points
    np.testing.assert_array_equal(again.without_partner[0].voxels, moving)
