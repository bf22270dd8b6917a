"""volumes.py: what a training gets of ChimeraX's models, against files that mrcfile wrote and against closed forms."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from chimerax.core.errors import UserError
from chimerax.geometry import Place, rotation, translation
from chimerax.map import volume_from_grid_data
from chimerax.map_data import ArrayGridData
from chimerax.map_data import mrc as chimerax_mrc

from chimerax.cryotrans.app import volumes
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

SHAPE = (10, 12, 14)  # nz, ny, nx
STEP = (1.1, 1.3, 1.7)  # Å; x, y, z
ORIGIN = (-4.5, 20.25, 7.0)  # Å; x, y, z


def write_mrc(path, density, step=STEP, origin=ORIGIN):
    """A map written by mrcfile; `density` is (nz, ny, nx), the rest x, y, z."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(density.astype(np.float32))
        mrc.voxel_size = step
        mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = origin
    return path


def blob(size, step, origin, centre, width, place=None):
    """(nz, ny, nx) of a Gaussian whose centre is given in the scene, where `place` puts the grid; all x, y, z."""
    z, y, x = np.indices(size[::-1])
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3) * step + origin
    points = (place or Place()) * points
    values = np.exp(-np.sum((points - centre) ** 2, axis=1) / (2 * width**2))
    return values.reshape(size[::-1]).astype(np.float32)


@pytest.fixture
def opened(run, tmp_path):
    """opened(density, name) writes a map with mrcfile and opens it."""

    def opened(density, name="A.mrc", step=STEP, origin=ORIGIN):
        [volume] = run(f'open "{write_mrc(tmp_path / name, density, step, origin)}"')
        return volume

    return opened


@pytest.fixture
def model(session):
    """model(density, …) adds a map that is only in memory."""

    def model(density, step=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), name="A", **grid):
        return volume_from_grid_data(
            ArrayGridData(density, step=step, origin=origin, name=name, **grid), session, show_dialog=False
        )

    return model


@pytest.fixture
def numbers():
    """(nz, ny, nx), no two voxels alike, a hundredth above 0.98."""
    return np.random.default_rng(1).permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32) / np.prod(SHAPE)


# ------------------------------------------------------------------------------------------------------ density_map_of


def test_axes_spacing_origin_and_name_are_those_of_the_file(opened, numbers):
    found = volumes.density_map_of(opened(numbers))
    np.testing.assert_array_equal(found.density, numbers)
    assert found.density.dtype == np.float32 and found.name == "A.mrc"
    np.testing.assert_allclose(found.voxel_size, STEP[::-1], rtol=1e-6)
    np.testing.assert_allclose(found.origin, ORIGIN[::-1], rtol=1e-6)


@pytest.mark.parametrize("origin", [ORIGIN, (0.0, 0.0, 0.0)], ids=["off zero", "at zero"])
def test_what_the_worker_reads_is_what_chimerax_has(opened, numbers, tmp_path, run, origin):
    write_map(tmp_path / "handed over.mrc", volumes.density_map_of(opened(numbers, origin=origin)))
    read = read_map(tmp_path / "handed over.mrc")
    np.testing.assert_array_equal(read.density, numbers)
    np.testing.assert_allclose(read.origin, origin[::-1], atol=1e-5)
    [again] = run(f'open "{tmp_path / "handed over.mrc"}"')
    np.testing.assert_allclose(again.data.origin, origin, atol=1e-5)
    np.testing.assert_allclose(again.data.step, STEP, rtol=1e-6)


def test_axis_order_of_the_file_does_not_matter(run, numbers, tmp_path):
    write_mrc(tmp_path / "A.mrc", numbers.transpose(2, 0, 1), step=(1, 1, 1))  # sections x, rows z, columns y
    with mrcfile.open(tmp_path / "A.mrc", "r+") as mrc:
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = 2, 3, 1
        mrc.header.cella = tuple(float(n) for n in SHAPE[::-1])
        mrc.header.mx, mrc.header.my, mrc.header.mz = SHAPE[::-1]
    [volume] = run(f'open "{tmp_path / "A.mrc"}"')
    np.testing.assert_array_equal(volumes.density_map_of(volume).density, numbers)


def test_region_and_step_shown_do_not_matter(opened, numbers, run):
    volume = opened(numbers)
    run(f"volume #{volume.id_string} region 2,3,1,8,9,7 step 2")
    assert volume.matrix().shape != SHAPE
    np.testing.assert_array_equal(volumes.density_map_of(volume).density, numbers)
    assert volumes.density_map_of(volume).origin == pytest.approx(ORIGIN[::-1])


def test_moving_the_model_does_not_move_its_own_grid(opened, numbers, run):
    volume = opened(numbers)
    run(f"move x 30 models #{volume.id_string}")
    assert volumes.density_map_of(volume).origin == pytest.approx(ORIGIN[::-1])


def test_whole_numbers_become_float32(model, numbers):
    density = (1000 * numbers).astype(np.int16)
    found = volumes.density_map_of(model(density))
    assert found.density.dtype == np.float32
    np.testing.assert_array_equal(found.density, density)


def test_skewed_axes_are_refused_with_the_remedy(model, numbers, run):
    model(numbers)
    skewed = model(numbers, cell_angles=(90, 90, 120), name="hexagonal")
    with pytest.raises(UserError, match=r"#2 hexagonal has cell angles of 90, 90, 120.*volume resample #2 onGrid MAP"):
        volumes.density_map_of(skewed)
    assert volumes.density_map_of(run("volume resample #2 onGrid #1")).grid_shape == SHAPE


# ------------------------------------------------------------------------------------------------------ density_map_on


@pytest.mark.parametrize("n", [40, 170], ids=["at once", "plane by plane"])  # ChimeraX changes over at 4 million voxels
def test_other_box_spacing_and_placement_against_a_closed_form(model, run, n):
    centre, width = (21.0, 17.0, 24.0), 5.0  # Å, in the scene; x, y, z
    size, step, origin = (n, 36, 48), (1.0, 1.2, 0.9), (1.0, -2.0, 3.0)
    if n > 100:
        size = (n, 160, 160)
    on = model(np.zeros(size[::-1], np.float32), step=step, origin=origin, name="initial")
    on.position = translation((2, -1, 0.5)) * rotation((1, 2, 3), 12)
    place = translation((-3, 4, 2)) * rotation((0.3, -1, 0.5), 35, center=centre)
    target_grid = {"size": (70, 66, 62), "step": (0.7, 0.75, 0.8), "origin": (-3.0, -8.0, 0.0)}
    density = blob(**target_grid, centre=centre, width=width, place=place)
    target = model(density, step=target_grid["step"], origin=target_grid["origin"], name="target")
    target.position = place
    run(f"volume #{target.id_string} step 4")
    run(f"volume #{on.id_string} region 0,0,0,20,20,20")

    found = volumes.density_map_on(target, on)

    assert found.grid_shape == size[::-1] and found.name == "target"
    assert found.voxel_size == pytest.approx(step[::-1]) and found.origin == pytest.approx(origin[::-1])
    expected = blob(size, step, origin, centre, width, place=on.scene_position)
    z, y, x = np.indices(size[::-1])
    scene = on.scene_position * (np.stack([x, y, z], axis=-1).reshape(-1, 3) * step + origin)
    index = (place.inverse() * scene - target_grid["origin"]) / target_grid["step"]
    last = np.array(target_grid["size"]) - 1
    inside = ((index > 0) & (index < last)).all(axis=1).reshape(size[::-1])
    outside = ((index < -1e-3) | (index > last + 1e-3)).any(axis=1).reshape(size[::-1])
    # Linear interpolation is off by at most h²/8 times the second derivative, which is 1/width², along each axis.
    bound = sum(h**2 for h in target_grid["step"]) / 8 / width**2
    np.testing.assert_allclose(found.density[inside], expected[inside], atol=1.01 * bound, rtol=0)
    assert inside.any() and outside.any() and not found.density[outside].any()
    assert found.density.max() > 0.95


def test_maps_below_other_models_are_taken_where_they_are_displayed(session, model):
    from chimerax.core.models import Model

    size, step, centre = (30, 32, 34), (1.0, 1.0, 1.0), (15.0, 14.0, 17.0)
    on = model(np.zeros(size[::-1], np.float32))
    parent = Model("moved", session)
    session.models.add([parent])
    place = rotation((0, 0, 1), 90, center=(15, 16, 17))
    target = model(blob(size, step, (0, 0, 0), centre, 4, place=place), name="target")
    session.models.add([target], parent=parent)
    parent.position = place
    found = volumes.density_map_on(target, on).density
    z, y, x = np.unravel_index(found.argmax(), found.shape)
    assert (x, y, z) == centre


def test_one_grid_is_not_interpolated(opened, numbers):
    a, b = opened(numbers, "A.mrc"), opened(numbers[::-1], "B.mrc", origin=np.array(ORIGIN) + 0.03)
    for volume in (a, b):
        volume.position = rotation((1, 1, 0), 40) * translation((5, 0, 0))
    np.testing.assert_array_equal(volumes.density_map_on(b, a).density, numbers[::-1])
    assert volumes.density_map_on(b, a).origin == pytest.approx(ORIGIN[::-1])


def test_a_larger_box_on_the_same_voxels_is_cropped(opened, numbers):
    a, b = opened(numbers[:-1, 1:-2, :-3], "A.mrc", origin=(0, STEP[1], 0)), opened(numbers, "B.mrc", origin=(0, 0, 0))
    np.testing.assert_allclose(volumes.density_map_on(b, a).density, numbers[:-1, 1:-2, :-3], atol=1e-5)


@pytest.mark.parametrize(
    "place",
    [translation((0.2, 0, 0)), translation((0, 0, -0.2)), rotation((0, 0, 1), 2), rotation((0, 1, 0), 180)],
    ids=["x", "z", "2 degrees", "turned over"],
)
def test_one_grid_in_another_place_is_interpolated(opened, numbers, place):
    a, b = opened(numbers, "A.mrc", origin=(0, 0, 0)), opened(numbers, "B.mrc", origin=(0, 0, 0))
    b.position = place
    assert np.abs(volumes.density_map_on(b, a).density - numbers).max() > 0.05


def test_grids_that_agree_in_a_corner_only_are_interpolated(opened, numbers):
    a, b = opened(numbers, "A.mrc"), opened(numbers, "B.mrc", step=tuple(1.02 * step for step in STEP))
    assert np.abs(volumes.density_map_on(b, a).density - numbers).max() > 0.05


def test_boxes_with_a_corner_in_common_are_not_one_grid(opened, numbers):
    a, b = opened(numbers[:-2, :-2, :-2], "A.mrc"), opened(numbers, "B.mrc")
    np.testing.assert_allclose(volumes.density_map_on(b, a).density, numbers[:-2, :-2, :-2], atol=1e-5)


def test_no_overlap_names_both_and_says_what_to_do(opened, numbers, run):
    a, b = opened(numbers, "A.mrc"), opened(numbers, "B.mrc")
    run(f"move x 500 models #{b.id_string}")
    wanted = r"#2 B\.mrc has no density in the box of #1 A\.mrc.*“move”; fitmap #2 inMap #1.*volume #2 origin"
    with pytest.raises(UserError, match=wanted):
        volumes.density_map_on(b, a)


def test_the_remedies_against_no_overlap_work(opened, numbers, run):
    a, b = opened(numbers, "A.mrc"), opened(numbers, "B.mrc", origin=(300, 0, 0))
    run(f"volume #{b.id_string} origin {','.join(str(place) for place in ORIGIN)}")
    np.testing.assert_array_equal(volumes.density_map_on(b, a).density, numbers)
    run(f"move x 3 models #{b.id_string}")
    run(f"fitmap #{b.id_string} inMap #{a.id_string}")


# --------------------------------------------------------------------------------------------------------------- levels


def test_level_shown_is_the_lowest(opened, numbers, run):
    volume = opened(numbers)
    run("volume #1 level 0.7 level 0.25")
    assert volumes.shown_level(volume) == 0.25
    run("hide #1 models")
    assert volumes.shown_level(volume) == 0.25


def test_image_style_shows_no_level(opened, numbers, run):
    volume = opened(numbers)
    run("volume #1 style image")
    assert volumes.shown_level(volume) is None
    run("volume #1 style mesh")
    assert volumes.shown_level(volume) is not None


def test_suggestion_keeps_a_hundredth(opened, numbers, run):
    volume = opened(numbers)
    run("volume #1 step 3")
    assert np.mean(numbers >= volumes.suggested_level(volume)) == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize("level", [0, 0.5, 0.99])
def test_good_levels_pass(opened, numbers, level):
    volumes.check_level(opened(numbers - numbers.max() + 1), level, "level")


@pytest.mark.parametrize(
    "level, keyword, words",
    [
        (None, "toLevel", r"^#1 A\.mrc shows no surface.*values from -0\.1 to 0\.8994\. Add toLevel .* toLevel 0\.89 "),
        (0.95, "level", r"^Level 0\.95 keeps nothing: #1 A\.mrc has values from -0\.1 to 0\.8994\. Add level .*0\.89 "),
        (-0.05, "level", r"^Level -0\.05 cannot be used: .* above zero .* #1 A\.mrc has values from -0\.1 to 0\.8994"),
        (float("nan"), "level", r"^Level nan cannot be used"),
    ],
)
def test_bad_levels_are_refused_with_what_to_type(opened, numbers, run, level, keyword, words):
    volume = opened(numbers - 0.1)
    run("volume #1 region 0,0,0,2,2,2 step 2")
    with pytest.raises(UserError, match=words):
        volumes.check_level(volume, level, keyword)


def test_voxels_that_are_no_numbers_are_counted(opened, numbers):
    numbers = numbers.copy()
    numbers[0] = np.nan
    said = rf"^#1 A\.mrc must be finite everywhere: {numbers[0].size:,} of {numbers.size:,} voxels are NaN or infinite"
    with pytest.raises(UserError, match=said):
        volumes.check_level(opened(numbers), 0.5, "level")


def test_a_map_below_zero_is_refused(opened, numbers):
    with pytest.raises(UserError, match="no density above zero to move"):
        volumes.check_level(opened(numbers - 2), 0.5, "level")


def test_rotation_inside_the_data_counts_in_the_scene(model, tmp_path, run):
    """ChimeraX writes it into MRC files as a label, and applies it when it reads them."""
    turn = rotation((0, 0, 1), 90)
    size, centre = (20, 22, 24), (-6.0, 9.0, 11.0)
    data = ArrayGridData(blob(size, (1, 1, 1), (0, 0, 0), centre, 3, place=turn), rotation=turn.matrix[:, :3])
    chimerax_mrc.save(data, str(tmp_path / "turned.mrc"))
    [target] = run(f'open "{tmp_path / "turned.mrc"}"')
    assert not np.allclose(target.data.rotation, np.eye(3))
    on = model(np.zeros((24, 22, 26), np.float32), origin=(-20, 0, 0))
    found = volumes.density_map_on(target, on).density
    z, y, x = np.unravel_index(found.argmax(), found.shape)
    assert (x - 20, y, z) == centre
