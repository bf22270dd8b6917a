"""The files of measures come back as they were written."""

import math

import numpy as np
import pytest

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.judging.measures import Measures
from chimerax.cryotrans.engine.judging.tables import read_fsc, read_metrics, write_fsc, write_metrics

ROW = Measures(500, 1.25, -1e-7, 0.5, 4.2, 1 / 3, 0.0, 0.9, 1.1, 1.3, 0.0, 0.02, math.nan, math.nan)


def test_the_measures_are_lines_of_plain_numbers(tmp_path):
    path = tmp_path / "metrics.csv"
    write_metrics(path, [ROW])
    assert path.read_bytes().decode() == (
        "step,seconds,loss,correlation,resolution,transport_distance,mass_outside,volume_change_low,"
        "volume_change_high,largest_stretch,folded,strain,held_out,validation\n"
        "500,1.25,-1e-07,0.5,4.2,0.333333333,0,0.9,1.1,1.3,0,0.02,,\n"
    )


def test_measures_come_back(tmp_path):
    rows = [ROW, ROW._replace(step=1000, loss=math.inf, held_out=0.25)]
    write_metrics(tmp_path / "metrics.csv", rows)
    found = read_metrics(tmp_path / "metrics.csv")
    np.testing.assert_allclose(found, rows, rtol=1e-8)
    assert type(found[0].step) is int and type(found[0].loss) is float


def test_curves_come_back(tmp_path):
    frequencies, curve = np.array([0.01, 0.02, 1 / 3]), np.array([1.0, 0.5, -1 / 7])
    write_fsc(tmp_path / "fsc.csv", frequencies, [(0, curve), (500, curve / 2)])
    lines = (tmp_path / "fsc.csv").read_text().splitlines()
    assert lines[0] == "step,0.01,0.02,0.333333333"
    assert lines[1] == "0,1,0.5,-0.142857143"
    found, curves = read_fsc(tmp_path / "fsc.csv")
    np.testing.assert_allclose(found, frequencies, rtol=1e-8)
    assert [step for step, _ in curves] == [0, 500]
    np.testing.assert_allclose(curves[1][1], curve / 2, rtol=1e-8)


@pytest.mark.parametrize(
    "content", [b"", b"step,a\n1,x\n", b"step,a\n1\n", b"step,a\n0.5,1\n", b"step,a\n,1\n", b"\xff"]
)
@pytest.mark.parametrize("read", [read_metrics, read_fsc])
def test_damaged_files_are_an_error(tmp_path, content, read):
    path = tmp_path / "damaged.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.csv cannot be read"):
        read(path)


def test_a_file_that_is_not_there_and_one_of_other_measures_are_errors(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("step,beauty\n1,2\n")
    with pytest.raises(InputError, match="names other measures"):
        read_metrics(tmp_path / "other.csv")
