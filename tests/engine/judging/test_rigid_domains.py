"""Domains of made-up motions, whose bodies, axes, angles and shifts are known; positions x, y, z here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.judging.rigid_domains import rigid_domains
from chimerax.cryotrans.engine.maps.demo_pair import HINGE_ANGLE, LEVEL, make_demo_pair

SIZE, ORIGIN = (2.0, 2.0, 2.0), (-6.0, 3.0, 10.0)  # z, y, x, Å


def _box(low, high):
    """Voxels (n, 3), x, y, z, from one corner to before the other."""
    return np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high)), indexing="ij"), -1).reshape(-1, 3)


def _places(voxels):
    """Å."""
    return voxels * 2.0 + np.array(ORIGIN[::-1])


def _about(axis, angle, point, shift):
    """Rotation and translation of a screw."""
    unit = np.array(axis) / np.linalg.norm(axis)
    rotation = Rotation.from_rotvec(np.radians(angle) * unit).as_matrix()
    return rotation, np.array(point) - rotation @ np.array(point) + shift * unit


def _domains(voxels, ends, **options):
    displacement = (ends - _places(voxels))[:, ::-1]
    return rigid_domains(voxels[:, ::-1], displacement, np.ones(len(voxels)), SIZE, ORIGIN, **options)


@pytest.fixture(scope="module")
def hinged():
    """Two boxes side by side of which the smaller turns by 35 degrees about a corner of the border, and slides."""
    large, small = _box((0, 0, 0), (20, 15, 15)), _box((20, 0, 0), (32, 15, 15))
    whole = np.vstack((large, small))
    places = _places(whole)
    point = _places(np.array([19.5, 0, 0]))
    frame = _about((0, 1, 1), 20, (0, 0, 0), 5)  # all is turned besides: what counts is one against the other
    hinge = _about((0, 0, 1), 35, point, 2)
    ends = places.copy()
    ends[len(large) :] = ends[len(large) :] @ hinge[0].T + hinge[1]
    ends = ends @ frame[0].T + frame[1]
    order = np.random.default_rng(0).permutation(len(whole))
    return _domains(whole[order], ends[order]), order < len(large), point, frame


def test_two_bodies_are_found_to_the_voxel(hinged):
    found, in_large, _, _ = hinged
    assert len(found.domains) == 2
    assert np.count_nonzero((found.labels == 0) != in_large) < 0.01 * len(in_large)
    assert found.domains[0].share == pytest.approx(20 / 32, abs=0.01)
    assert all(domain.misfit < 0.3 for domain in found.domains)


def test_the_screw_is_that_of_the_small_body_against_the_large(hinged):
    found, _, point, frame = hinged
    screw = found.domains[1].screw
    assert screw.angle == pytest.approx(35, abs=0.5)
    np.testing.assert_allclose(screw.axis, (0, 0, 1), atol=0.01)  # and not -z: the sense is that of x, y, z
    assert screw.shift == pytest.approx(2, abs=0.1)
    assert np.linalg.norm((screw.point - point)[:2]) < 0.5
    np.testing.assert_allclose(found.domains[0].rotation, frame[0], atol=0.01)
    assert found.domains[0].screw.angle == pytest.approx(20, abs=0.5)  # in the map


def test_the_hinge_is_where_the_axis_passes_the_border(hinged):
    found, _, point, _ = hinged
    hinge = found.domains[1].hinge
    assert hinge is not None and found.domains[0].hinge is None
    assert np.linalg.norm((hinge - point)[:2]) < 5.5
    assert np.linalg.norm((found.domains[1].screw.point - hinge)[2]) < 1  # the axis is given there
    np.testing.assert_allclose(found.domains[1].border[:, 0], point[0], atol=3)


def test_an_axis_far_from_the_border_is_no_hinge():
    large, small = _box((0, 0, 0), (20, 15, 15)), _box((20, 0, 0), (32, 15, 15))
    places = _places(np.vstack((large, small)))
    rotation, translation = _about((1, 0, 0), 30, (0, 90, 0), 0)
    places[len(large) :] = places[len(large) :] @ rotation.T + translation
    found = _domains(np.vstack((large, small)), places)
    assert len(found.domains) == 2 and found.domains[1].hinge is None
    assert found.domains[1].screw.angle == pytest.approx(30, abs=0.5)


def test_one_body_is_one_domain_however_it_moves():
    voxels = _box((0, 0, 0), (20, 20, 20))
    rotation, translation = _about((1, 1, 0), 80, (3, 2, 1), 20)
    found = _domains(voxels, _places(voxels) @ rotation.T + translation)
    assert len(found.domains) == 1 and found.domains[0].share == 1
    assert found.domains[0].misfit == pytest.approx(0, abs=1e-4)
    assert found.domains[0].screw.angle == pytest.approx(80, abs=1e-4)
    assert (found.labels == 0).all()


def test_what_bends_all_along_is_cut_where_the_tolerance_says():
    """A rod that bends evenly has no domains of its own: more of them the smaller the tolerance."""
    rod = _box((0, 0, 0), (60, 6, 6))
    places = _places(rod) - _places(np.zeros(3))
    angle, radius = np.radians(90) * places[:, 0] / 120, 120 / np.radians(90)
    bent = places.copy()
    bent[:, 0] = np.sin(angle) * (radius - places[:, 1])
    bent[:, 1] = radius - np.cos(angle) * (radius - places[:, 1])
    ends = bent + _places(np.zeros(3))
    counts = [len(_domains(rod, ends, tolerance=t).domains) for t in (1.5, 4.0, 60.0)]
    assert counts[0] > counts[1] > counts[2] == 1


def test_a_small_body_is_not_hidden_in_the_mean_of_a_large_one():
    body, knob = _box((0, 0, 0), (20, 20, 20)), _box((20, 5, 5), (28, 15, 15))  # a tenth of the whole
    voxels = np.vstack((body, knob))
    ends = _places(voxels)
    ends[len(body) :, 1] += 6.0  # 2 Å in the mean of all
    found = _domains(voxels, ends)
    assert len(found.domains) == 2
    assert found.domains[1].screw.shift == pytest.approx(6, abs=0.2)


def test_a_group_too_small_to_name_goes_with_its_neighbour():
    body, tail = _box((0, 0, 0), (20, 20, 20)), _box((20, 9, 9), (24, 11, 11))
    voxels = np.vstack((body, tail))
    ends = _places(voxels)
    ends[len(body) :, 1] += 12.0
    found = _domains(voxels, ends)
    assert len(found.domains) == 1 and found.domains[0].misfit > 0.3


def test_parts_with_a_gap_between_them_are_found_whole():
    voxels = np.vstack([_box((0, y, 0), (20, y + 4, 20)) for y in (0, 5, 10)])  # slabs, an empty layer between
    rotation, translation = _about((0, 0, 1), 40, (0, 0, 0), 0)
    found = _domains(voxels, _places(voxels) @ rotation.T + translation)
    assert len(found.domains) == 1


def test_the_hinge_of_the_demo_pair():
    """Each voxel moves as the nearest atom does."""
    pair = make_demo_pair()
    support = np.argwhere(pair.initial.density > LEVEL)
    size, origin = pair.initial.voxel_size, pair.initial.origin
    _, nearest = cKDTree(pair.initial_atoms).query(support * np.array(size) + np.array(origin))
    moves = (pair.target_atoms - pair.initial_atoms)[nearest]
    found = rigid_domains(support, moves, pair.initial.density[tuple(support.T)], size, origin)
    still = np.linalg.norm(moves, axis=1) < 1e-6
    assert len(found.domains) == 2 and np.mean((found.labels == 0) == still) > 0.99
    assert found.domains[1].screw.angle == pytest.approx(HINGE_ANGLE, abs=0.5)
    assert found.domains[1].screw.shift == pytest.approx(0, abs=0.1)
