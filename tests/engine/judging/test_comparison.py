"""The judge on flows of known effect: at rest, moved by whole voxels, folded, out of the box."""

import math

import numpy as np
import phantoms
import pytest
import torch

from chimerax.cryotrans.engine.docking.partners import Part
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.integration import displacement
from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.engine.judging.equal_terms import on_equal_terms
from chimerax.cryotrans.engine.judging.measures import Measures
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.deposit import deposit
from chimerax.cryotrans.engine.maps.fsc import correlation, fourier_shell_correlation, resolution_at
from chimerax.cryotrans.engine.maps.gaussian_blur import gaussian_blur

CPU = torch.device("cpu")
SIDE = max(phantoms.SHAPE)


class Affine:
    """dx/dt = v + B x(0), in voxels."""

    integrator = "euler"

    def __init__(self, velocity=(0.0, 0.0, 0.0), of_start=None) -> None:
        self._velocity = torch.tensor(velocity) / SIDE
        self._slope = torch.zeros(3, 3) if of_start is None else torch.tensor(of_start)

    def at(self, start):
        return lambda points: self._velocity + start @ self._slope.T + 0 * points


def _map(density, name="a.mrc") -> DensityMap:
    return DensityMap(np.asarray(density, np.float32), phantoms.VOXEL_SIZE, name=name)


def _above(density) -> np.ndarray:
    return np.where(density < phantoms.LEVEL, 0, density)


def _judge(target, initial=None, **options) -> Comparison:
    initial = phantoms.two_domains() if initial is None else initial
    return Comparison(_map(initial), _map(target, "b.mrc"), phantoms.LEVEL, phantoms.LEVEL, CPU, **options)


@pytest.fixture(scope="module")
def at_rest():
    return _judge(phantoms.two_domains()).measure(Affine(), 500, 2.5, -1.0)


def test_a_flow_at_rest_makes_the_initial_map_again(at_rest):
    measures = at_rest.measures
    assert measures[:3] == (500, 2.5, -1.0)
    assert measures.correlation == pytest.approx(1)
    assert measures.transport_distance == pytest.approx(0, abs=1e-4)
    assert measures.resolution == pytest.approx(3.0)  # Nyquist
    assert measures.mass_outside == measures.folded == 0
    assert (measures.volume_change_low, measures.volume_change_high) == pytest.approx((1, 1))
    assert measures.largest_stretch == pytest.approx(1)
    assert measures.strain == pytest.approx(0, abs=1e-6)
    assert math.isnan(measures.held_out) and math.isnan(measures.validation)
    np.testing.assert_array_equal(at_rest.generated, _above(phantoms.two_domains()))
    assert at_rest.generated.dtype == np.float32
    np.testing.assert_allclose(at_rest.fsc, 1)


def test_every_measure_is_a_plain_number(at_rest):
    assert [type(value) for value in at_rest.measures] == [int] + 13 * [float]


def test_a_move_that_is_right_is_perfect_and_one_that_is_not_is_as_far_as_it_goes():
    initial = phantoms.two_domains()
    target = np.roll(initial, (1, -2), axis=(1, 2))  # nothing above the level passes a face
    judge = _judge(target)
    right = judge.measure(Affine((0.0, 1.0, -2.0)), 0, 0.0, 0.0)
    assert right.measures.correlation == pytest.approx(1, abs=1e-5)
    assert right.measures.transport_distance < 0.01
    np.testing.assert_allclose(right.displacement, np.broadcast_to([0, 1.5, -3.0], (len(judge.support), 3)), atol=1e-5)
    still = judge.measure(Affine(), 0, 0.0, 0.0).measures
    assert still.transport_distance == pytest.approx(1.5 * math.sqrt(5), rel=0.01)
    _, *alike = on_equal_terms(_above(initial), _above(target), phantoms.VOXEL_SIZE)
    assert still.correlation == pytest.approx(correlation(*alike), abs=1e-6)
    assert still.correlation < correlation(_above(initial), _above(target)) + 0.1
    frequencies, fsc = fourier_shell_correlation(_above(initial), _above(target), phantoms.VOXEL_SIZE)
    assert still.resolution == pytest.approx(resolution_at(frequencies, fsc, 0.5))


def test_the_generated_map_is_the_points_above_the_level_carried_and_deposited():
    velocity = VelocityField(3, 20, seed=0)
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.mul_(15)
    judge = _judge(phantoms.two_domains(1.0))
    measured = judge.measure(velocity, 0, 0.0, 0.0)
    density = _above(phantoms.two_domains())
    places = torch.from_numpy(np.argwhere(density > 0)).double()
    moved = displacement(velocity.double(), (places + 0.5) / SIDE).detach() * SIDE
    np.testing.assert_allclose(measured.displacement, moved * 1.5, atol=1e-4)
    carried = deposit(places + moved, torch.from_numpy(density[density > 0]), phantoms.SHAPE)
    np.testing.assert_allclose(measured.generated, carried, atol=1e-4)
    assert measured.measures.mass_outside == pytest.approx(float(1 - carried.sum() / density.sum()), abs=1e-5)
    assert np.abs(measured.displacement).max() > 0.1
    assert measured.measures.strain == pytest.approx(
        math.sqrt((judge.weights * np.minimum(measured.strain, 0.5) ** 2).sum() / judge.weights.sum())
    )
    assert measured.measures.strain > 1e-3


def test_mass_that_leaves_the_box_is_counted():
    judge = _judge(phantoms.two_domains())
    gone = judge.measure(Affine((100.0, 0.0, 0.0)), 0, 0.0, 0.0).measures
    assert gone.mass_outside == 1
    assert gone.correlation == 0
    assert gone.transport_distance == pytest.approx(150, rel=0.01)


def test_mass_is_what_percentiles_and_shares_are_of():
    # Two separate voxels of masses 1 and 3; the upper one is stretched, the lower turned inside out.
    density = np.zeros(phantoms.SHAPE, np.float32)
    density[5, 10, 10], density[12, 10, 10] = 1, 3
    judge = _judge(density, density)

    class Split:
        integrator = "euler"

        def at(self, start):
            upper = start[:, :1] * SIDE > 9
            return lambda points: torch.where(upper, 0.5 * start, -2 * start) * torch.tensor([1.0, 0.0, 0.0])

    measured = judge.measure(Split(), 0, 0.0, 0.0)
    np.testing.assert_allclose(measured.volume_change, [-1, 1.5], rtol=1e-6)
    measures = measured.measures
    assert measures.folded == pytest.approx(0.25)
    assert (measures.volume_change_low, measures.volume_change_high) == pytest.approx((-1, 1.5))
    assert measures.largest_stretch == pytest.approx(1.5)
    assert measures.strain == pytest.approx(math.sqrt(0.25 * 0.25 + 0.75 * 0.25 / 3))  # the fold counts for a half


def test_a_hundredth_of_the_mass_decides_not_of_the_points():
    density = np.zeros(phantoms.SHAPE, np.float32)
    density[5, 10, 10], density[12, 10, 10] = 0.6, 100
    judge = _judge(density, density)

    class Split:
        integrator = "euler"

        def at(self, start):
            return lambda points: torch.where(start[:, :1] * SIDE > 9, 0.5 * start, -2 * start)

    measures = judge.measure(Split(), 0, 0.0, 0.0).measures
    assert measures.volume_change_low == pytest.approx(1.5**3)  # not -1


def test_strain_is_that_of_lengths_in_angstroms():
    # One voxel of z for one of y, where voxels are 3 Å high and 2 Å wide: a simple shear of 1.5.
    density = DensityMap(phantoms.two_domains().astype(np.float32), (3.0, 2.0, 2.0))
    judge = Comparison(density, density, phantoms.LEVEL, phantoms.LEVEL, CPU)
    shear = Affine(of_start=[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    measures = judge.measure(shear, 0, 0.0, 0.0).measures
    assert measures.largest_stretch == pytest.approx(0.75 + math.sqrt(1 + 1.5**2 / 4), rel=1e-5)


def test_held_out_voxels_and_a_validation_map_are_compared_too():
    held_out = np.random.default_rng(0).random(phantoms.SHAPE) < 0.2
    other = phantoms.two_domains(0.5)
    judge = _judge(phantoms.two_domains(1.0), held_out=held_out, validation=_map(other, "c.mrc"))
    measures = judge.measure(Affine(), 0, 0.0, 0.0).measures
    a, b = _above(phantoms.two_domains()), _above(phantoms.two_domains(1.0))
    part, *alike = on_equal_terms(a, b, phantoms.VOXEL_SIZE)
    assert measures.held_out == pytest.approx(correlation(*(density[held_out[part]] for density in alike)))
    frequencies, fsc = fourier_shell_correlation(a, other, phantoms.VOXEL_SIZE)
    assert measures.validation == pytest.approx(resolution_at(frequencies, fsc, 0.5))


def test_a_target_that_is_coarser_or_sharper_is_as_well_met():
    sharp = phantoms.two_domains().clip(0.1) - np.float32(0.1)
    coarse = gaussian_blur(torch.from_numpy(sharp).double(), 1.5).numpy()
    for initial, target in ((sharp, coarse), (coarse, sharp)):
        measures = Comparison(_map(initial), _map(target), 0.0, 0.0, CPU).measure(Affine(), 0, 0.0, 0.0).measures
        assert measures.correlation > 0.98 > 0.95 > correlation(initial, target)


def test_what_has_no_partner_is_carried_but_does_not_count():
    target = phantoms.two_domains()
    right = np.indices(phantoms.SHAPE)[2] > 13
    target = np.where(right, 0, target)
    part = Part("initial", 0.4, (13.0, 19.0, 27.0), right)
    whole, without = _judge(target), _judge(target, without_partner=[part])
    np.testing.assert_array_equal(without.support, whole.support)
    assert (without.weights == 0).sum() == right[tuple(whole.support.T)].sum() > 0
    counted, measures = (judge.measure(Affine(), 0, 0.0, 0.0).measures for judge in (whole, without))
    assert measures.correlation == pytest.approx(1) and counted.correlation < 0.9
    assert measures.transport_distance < 0.01 < counted.transport_distance


def test_a_flow_that_has_diverged_is_judged_without_a_fault():
    measures = _judge(phantoms.two_domains()).measure(Affine((math.nan, 0.0, 0.0)), 0, 0.0, 0.0).measures
    assert measures.mass_outside == 1 and measures.correlation == 0
    assert math.isnan(measures.transport_distance)


def test_maps_that_cannot_be_compared_are_an_error():
    small = phantoms.two_domains()[:-1]
    with pytest.raises(InputError, match="must share a grid"):
        _judge(small)
    with pytest.raises(InputError, match=r"must share a grid: a\.mrc .* c\.mrc"):
        _judge(phantoms.two_domains(), validation=_map(small, "c.mrc"))
    with pytest.raises(InputError, match="held-out voxels must be on the grid"):
        _judge(phantoms.two_domains(), held_out=np.ones((3, 4, 5), bool))


def test_the_names_are_those_of_the_file():
    assert Measures._fields[:6] == ("step", "seconds", "loss", "correlation", "resolution", "transport_distance")
