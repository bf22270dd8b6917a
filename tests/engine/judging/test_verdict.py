"""The verdict on rows of known kind, one rule at a time, and on short trainings that are right and wrong on purpose."""

import math

import numpy as np
import pytest
import torch

from chimerax.cryotrans.engine.errors import worded
from chimerax.cryotrans.engine.flow.fields import new_field
from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.engine.judging.held_out import held_out_mask
from chimerax.cryotrans.engine.judging.measures import Measures
from chimerax.cryotrans.engine.judging.verdict import best_checkpoint, verdict_on
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.preparation import above_level, bin_density, prepare
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.training.training import Training

VOXEL = (1.5, 1.5, 1.5)
NAN = math.nan
START = Measures(0, 0.0, 1.0, 0.5, 40.0, 6.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, NAN, NAN)
GOOD = Measures(900, 9.0, 0.1, 0.95, 4.0, 0.6, 0.0, 0.8, 1.3, 1.7, 0.0, 0.1, NAN, NAN)
LAST = GOOD._replace(step=1000)


def _rows(**changes):
    """The start, two good checkpoints that are equal, and what is to be changed in both."""
    return [START, GOOD._replace(**changes), LAST._replace(**changes)]


def _judged(rows, best=None, **known):
    return verdict_on(rows, len(rows) - 1 if best is None else best, VOXEL, **known)


def test_a_run_that_arrives_and_keeps_shape_is_good_and_says_its_numbers():
    verdict = _judged(_rows())
    assert verdict.word == "good"
    assert (
        verdict.reasons[0]
        == "The correlation with the target is 0.950, from 0.500 at the start: 90% of the gap is closed."
    )
    assert "0.6 Å further (0.4 voxels)" in verdict.reasons[1] and "6 Å" in verdict.reasons[1]
    assert "4 Å" in verdict.reasons[2]


def test_what_is_wrong_comes_with_what_to_do_about_it_and_what_is_right_with_nothing():
    assert _judged(_rows()).advice == ()
    verdict = _judged(_rows(strain=0.4, mass_outside=0.02))
    assert verdict.word == "poor" and verdict.advice[0] == "Do not use this morph as it is."
    assert any("larger box" in text for text in verdict.advice)
    flags = [worded(text, lambda name: f"<{name}>") for text in verdict.advice]
    assert any("(<flow> domains)" in text for text in flags)
    assert len(set(verdict.advice)) == len(verdict.advice)


def test_a_ceiling_that_noise_leaves_is_what_a_correlation_is_held_against():
    rows = _rows(correlation=0.65)
    assert _judged(rows).word == "doubtful"
    verdict = _judged(rows, ceiling=0.7)
    assert verdict.word == "good"
    assert "0.650, of 0.700 that its noise allows, from 0.500 at the start: 75% of the gap" in verdict.reasons[0]
    assert _judged(_rows(correlation=0.5), ceiling=0.7).word == "poor"


def test_a_recipe_that_was_ended_early_is_not_good():
    verdict = _judged(_rows(), ended_early=True)
    assert verdict.word == "doubtful" and "before its last stage" in verdict.reasons[0]


def test_regions_that_are_doubtful_cost_the_word_and_are_named():
    regions = [{"place": [10.0, 20.0, 30.4], "share": 0.2, "confidence": 0.1}]
    verdict = _judged(_rows(), confidence={"step": 1000, "doubtful": 0.2, "regions": regions})
    assert verdict.word == "doubtful"
    assert verdict.reasons == (
        "20% of the mass is doubtful by itself, near (10, 20, 30) Å (x, y, z): it fits worse there, or changes its "
        "shape.",
    )
    assert _judged(_rows(), confidence={"step": 900, "doubtful": 0.2, "regions": regions}).word == "good"
    assert _judged(_rows(), confidence={"step": 1000, "doubtful": 0.0, "regions": []}).word == "good"


@pytest.mark.parametrize(("share", "is_first"), [(0.08, True), (0.02, False)])
def test_of_a_good_whole_the_doubtful_part_is_said_first_unless_it_is_small(share, is_first):
    regions = [{"place": [10.0, 20.0, 30.4], "share": share, "confidence": 0.1}]
    verdict = _judged(_rows(), confidence={"step": 1000, "doubtful": share, "regions": regions})
    assert verdict.word == "good" and len(set(verdict.reasons)) == len(verdict.reasons)
    where = [i for i, reason in enumerate(verdict.reasons) if reason.startswith(f"{share:.0%} of the mass is doubtful")]
    assert where and (where[0] == 0) == is_first


@pytest.mark.parametrize(
    ("changes", "word", "said"),
    [
        ({"correlation": 0.79}, "doubtful", "0.790"),
        ({"correlation": 0.7}, "doubtful", "40% of the gap"),
        ({"correlation": 0.59}, "poor", "0.590"),
        ({"transport_distance": 2.0}, "doubtful", "2 Å further"),
        ({"transport_distance": 4.0}, "poor", "4 Å further"),
        ({"resolution": 40.0}, "poor", "no better than the initial map"),
        ({"strain": 0.31}, "doubtful", "by 31% on average"),
        ({"strain": 0.37}, "poor", "not be two states of one molecule"),
        ({"folded": 0.05}, "doubtful", "5.0% of the mass"),
        ({"folded": 0.11}, "poor", "inside out"),
        ({"mass_outside": 0.02}, "doubtful", "2.0% of the mass has left the box"),
        ({"mass_outside": 0.2}, "poor", "20.0% of the mass"),
        ({"held_out": 0.7}, "poor", "Overfitting: held-out correlation is 0.700 at step 1000, far below 0.950"),
    ],
)
def test_one_thing_that_is_wrong_is_the_only_one_that_is_said(changes, word, said):
    verdict = _judged(_rows(**changes))
    assert verdict.word == word
    assert len(verdict.reasons) == 1 and said in verdict.reasons[0]


def test_the_worst_comes_first_and_gives_the_word():
    verdict = _judged(_rows(correlation=0.79, folded=0.2))
    assert verdict.word == "poor"
    assert "inside out" in verdict.reasons[0] and "0.790" in verdict.reasons[1]


def test_a_high_correlation_that_was_there_from_the_start_is_no_merit():
    near = START._replace(correlation=0.9)
    for correlation, word in ((0.951, "good"), (0.949, "doubtful"), (0.924, "poor")):
        rows = [near, GOOD._replace(correlation=correlation), LAST._replace(correlation=correlation)]
        assert _judged(rows).word == word


def test_maps_that_are_alike_from_the_start_have_no_gap_to_close():
    alike = START._replace(correlation=0.985, transport_distance=0.4)
    for row in (GOOD, LAST):
        verdict = _judged([alike, row._replace(correlation=0.985, transport_distance=0.4)])
        assert verdict.word == "good" and "there is no motion to speak of" in verdict.reasons[0]


def test_less_than_a_voxel_left_is_no_matter_how_little_there_was_to_go():
    near = START._replace(transport_distance=1.6, correlation=0.85)
    assert _judged([near, GOOD._replace(transport_distance=1.4), LAST._replace(transport_distance=1.4)]).word == "good"


def test_a_run_from_trained_weights_is_not_compared_with_its_first_checkpoint():
    rows = [GOOD._replace(step=0, correlation=0.94), GOOD._replace(correlation=0.945), LAST]
    assert _judged(rows).word == "good"
    assert "gap" not in _judged(rows).reasons[0]


def test_detail_is_compared_with_that_of_the_target_where_it_is_known():
    assert _judged(_rows(), target_resolution=3.0).word == "good"
    verdict = _judged(_rows(), target_resolution=1.9)
    assert verdict.word == "doubtful" and "1.9 Å" in verdict.reasons[0]


def _witness(shares, step=1000):
    """Twelve pieces, the first of which are doubted."""
    pieces = [
        {
            "place": [10.0 * k, 2.0, -3.0],
            "share": share,
            "fit": 0.2,
            "best": 0.9,
            "apart": 6.0 + k,
            "doubt": "elsewhere",
        }
        for k, share in enumerate(shares)
    ]
    left = 12 - len(pieces)
    rest = [{"place": [0.0] * 3, "share": 0.0, "fit": 0.9, "best": 0.9, "apart": 0.5, "doubt": None}] * left
    return {"step": step, "doubted": sum(shares), "usual": 0.9, "pieces": pieces + rest}


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ((), "good"),
        ((0.08,), "good"),
        ((0.02, 0.02), "good"),
        ((0.04, 0.02), "doubtful"),
        ((0.2, 0.12), "doubtful"),
        ((0.2, 0.14), "poor"),
    ],
)
def test_pieces_that_fit_elsewhere_count_by_their_mass_but_one_alone_does_not(shares, word):
    verdict = _judged(_rows(), witness=_witness(shares))
    assert verdict.word == word
    if not shares:
        assert "All 12 pieces that were docked by themselves fit where the flow takes them." in verdict.reasons


def test_what_the_witness_says_names_places_and_distance():
    [text] = _judged(_rows(), witness=_witness((0.1, 0.05, 0.05, 0.05))).reasons
    assert text == (
        "Of 12 pieces that were docked by themselves, 4 with 25% of the mass do not fit where the flow takes them: "
        "near (0, 2, -3); (10, 2, -3); (20, 2, -3) Å (x, y, z) and 1 more. Better fits are 8 Å away."
    )
    [told] = [text for text in _judged(_rows(), witness=_witness((0.08,))).reasons if "docked" in text]
    assert "1 with 8% of the mass does not fit where the flow takes it" in told


def test_a_witness_of_another_checkpoint_is_not_heard():
    assert _judged(_rows(), witness=_witness((0.5, 0.4), step=900)) == _judged(_rows())


@pytest.mark.parametrize(
    ("then", "last", "word"),
    [
        ({"held_out": 0.9}, {"held_out": 0.89}, "good"),
        ({"held_out": 0.9}, {"held_out": 0.87}, "doubtful"),
        ({"held_out": 0.9}, {"held_out": 0.75}, "poor"),
        ({"validation": 4.0}, {"validation": 4.3}, "good"),
        ({"validation": 4.0}, {"validation": 4.6}, "doubtful"),
        ({"validation": 4.0}, {"validation": 8.0}, "poor"),
        ({}, {"strain": 0.35}, "good"),
        ({}, {"strain": 0.37}, "doubtful"),
    ],
)
def test_what_turned_worse_after_the_best_step_is_overfitting(then, last, word):
    verdict = _judged([START, GOOD._replace(**then), LAST._replace(**last)], best=1)
    assert verdict.word == word
    assert (word != "good") == verdict.reasons[0].startswith("Overfitting")
    if word != "good":
        assert "step 900" in verdict.reasons[0] and "step 1000" in verdict.reasons[0]


def test_held_out_voxels_that_were_matched_better_at_the_start_are_overfitting():
    rows = [row._replace(held_out=value) for row, value in zip(_rows(), (0.9, 0.87, 0.87))]
    assert _judged(rows).word == "poor" and "from 0.900 at the start to 0.870" in _judged(rows).reasons[0]


def test_training_that_ends_in_the_middle_of_its_way_is_doubtful():
    verdict = _judged([START, GOOD._replace(correlation=0.9), LAST])
    assert verdict.word == "doubtful" and "still improved" in verdict.reasons[0] and "0.050" in verdict.reasons[0]
    settled = _judged([START, GOOD._replace(correlation=0.9), LAST], has_settled=True)
    assert settled.word == "good"  # a recipe that has come to its end has no more steps to make
    assert _judged([START, GOOD._replace(correlation=0.945), LAST]).word == "good"
    half = GOOD._replace(step=500, correlation=0.91)  # the same gain over five times as long is half of what counts
    assert _judged([START, half, LAST]).word == "good"


def test_a_run_of_one_checkpoint_and_one_whose_points_are_lost_have_a_verdict():
    assert _judged([START]).word == "poor"
    verdict = _judged(_rows(correlation=NAN))
    assert verdict.word == "poor" and "no numbers" in verdict.reasons[0]


def test_the_best_checkpoint_is_the_one_of_highest_correlation_and_of_equal_ones_the_first():
    assert best_checkpoint([START, GOOD, LAST, LAST._replace(correlation=0.9)]) == 1


def test_strain_and_folds_cost_correlation():
    strained = LAST._replace(correlation=0.97, strain=0.6)
    assert best_checkpoint([START, GOOD, strained]) == 1
    assert best_checkpoint([START, GOOD, strained._replace(strain=0.45)]) == 2
    assert best_checkpoint([START, GOOD, LAST._replace(correlation=0.97, folded=0.03)]) == 1


def test_held_out_correlation_counts_before_the_correlation_of_what_was_seen():
    rows = [START._replace(held_out=0.5), GOOD._replace(held_out=0.9), LAST._replace(correlation=0.99, held_out=0.8)]
    assert best_checkpoint(rows) == 1


def test_only_checkpoints_that_the_validation_map_agrees_with_can_be_the_best():
    coarser, finest = LAST._replace(correlation=0.99, validation=5.0), GOOD._replace(validation=4.0)
    same = LAST._replace(correlation=0.96, validation=4.05)
    assert best_checkpoint([START._replace(validation=40.0), finest, coarser, same]) == 3


def test_a_checkpoint_whose_points_are_lost_is_never_the_best():
    lost = LAST._replace(correlation=NAN, strain=NAN)
    assert best_checkpoint([START, lost]) == 0
    assert best_checkpoint([lost, START]) == 1


# Short trainings


@pytest.fixture(scope="module")
def pair():
    """The demo pair with voxels of 3.2 Å, both of maximum 1."""
    demo = make_demo_pair()
    return [_of(bin_density(m.density, 2), m.name) for m in (demo.initial, demo.target)]


def _of(density, name="map.mrc") -> DensityMap:
    return DensityMap(density / density.max(), (3.2, 3.2, 3.2), name=name)


def _trained(initial, target, n_steps, n_domains=None, held_out=None):
    """Rows of a training by transport, one every hundred steps."""
    flow = "domains" if n_domains else "network"
    options = TrainingOptions(LEVEL, LEVEL, n_steps, 100, learning_rate=2e-3, seed=1, flow=flow, n_domains=n_domains)
    measure = Comparison(initial, target, LEVEL, LEVEL, torch.device("cpu"), held_out=held_out).measure
    prepared = prepare(initial, target, LEVEL, LEVEL, held_out=held_out)
    training = Training(prepared, options, new_field(flow, options, prepared, None), torch.device("cpu"))
    rows = []
    while True:
        training.evaluate()
        if training.step % 100 == 0:
            rows.append(measure(training.velocity, training.step, 0.0, training.losses[-1]).measures)
        if training.finished:
            return rows
        training.update()


def _verdict(rows):
    return verdict_on(rows, best_checkpoint(rows), (3.2, 3.2, 3.2))


def test_two_states_of_one_molecule_are_good(pair):
    verdict = _verdict(_trained(*pair, 200))
    assert verdict.word == "good", verdict.reasons


def test_another_molecule_is_poor_for_its_strain(pair):
    initial, _ = pair
    rows = _trained(initial, _lump(initial.grid_shape), 300)
    assert rows[-1].correlation > 0.7  # it does arrive
    verdict = _verdict(rows)
    assert verdict.word == "poor"
    assert any("not be two states" in reason for reason in verdict.reasons)


def test_so_many_domains_that_they_fit_the_noise_are_called_overfitted(pair):
    initial, clean = pair
    noise = np.random.default_rng(0).normal(scale=0.5, size=clean.grid_shape)
    target = clean.with_density(clean.density + np.where(clean.density > 0.1, noise, 0))
    held_out = held_out_mask(above_level(target, LEVEL), 0.15, 4.0, seed=0)
    rows = _trained(initial, target, 200, n_domains=150, held_out=held_out)
    assert rows[-1].correlation > rows[0].correlation + 0.15  # it fits, and better than the network above would
    verdict = _verdict(rows)
    assert verdict.word == "poor"
    assert any(reason.startswith("Overfitting: held-out correlation") for reason in verdict.reasons), verdict.reasons


def _lump(grid_shape) -> DensityMap:
    """Random density of about 4 Å detail within a ball."""
    noise = np.random.default_rng(0).normal(size=grid_shape)
    squared = sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n, 3.2) for n in grid_shape), indexing="ij"))
    smooth = np.fft.ifftn(np.fft.fftn(noise) * np.exp(-2 * np.pi**2 * 4.0**2 * squared)).real
    places = np.indices(grid_shape) - (np.array(grid_shape).reshape(3, 1, 1, 1) - 1) / 2
    ball = 1.2 - 1.5 * ((places * 3.2 / 22) ** 2).sum(axis=0)
    return _of(np.maximum(0, smooth / smooth.std() + ball).astype(np.float32))


def test_a_part_without_partner_costs_the_word_good_and_is_named():
    verdict = _judged(_rows(), without_partner=[{"text": "A part of a.mrc has no partner.", "share": 0.1}])
    assert verdict[:2] == ("doubtful", ("A part of a.mrc has no partner.",))
    most = _judged(_rows(), without_partner=[{"text": "Most of a.mrc has no partner.", "share": 0.8}])
    assert most[:2] == ("poor", ("Most of a.mrc has no partner.",)), "what is left of it may fit anything"
