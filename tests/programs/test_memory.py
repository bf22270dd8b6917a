"""Memory: what is said before a run where it would not do, and what is left where it goes in the middle."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from phantoms import LEVEL
from running import call, contents, run_json, training

from chimerax.cryotrans.engine.errors import InputError, is_of_memory
from chimerax.cryotrans.engine.maps import mrc_file
from chimerax.cryotrans.engine.maps.mrc_file import read_map
from chimerax.cryotrans.engine.outlook import memory_of_training
from chimerax.cryotrans.programs import room


@pytest.fixture
def room_of(monkeypatch):
    """room_of(bytes) makes the computer one that has so much memory for the program."""
    return lambda n_bytes: monkeypatch.setattr(room, "room_for_process", lambda: n_bytes)


@pytest.fixture
def memory_goes(monkeypatch):
    """memory_goes(steps) has these evaluations of the loss raise what PyTorch raises where memory is gone."""

    def begin(which) -> list[int]:
        made: list[int] = []

        def backward(self, *args, really=torch.Tensor.backward, **kw):
            made.append(len(made))
            if made[-1] in which:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return really(self, *args, **kw)

        monkeypatch.setattr(torch.Tensor, "backward", backward)
        return made

    return begin


def test_a_training_that_does_not_fit_is_refused_with_what_would(maps, tmp_path, capsys, room_of, monkeypatch):
    monkeypatch.setattr(room, "memory_of_training", lambda n_voxels, *_: 1e6 * n_voxels)
    n_voxels = read_map(maps / "initial.mrc").density.size
    room_of(1e6 * n_voxels / 5)
    before = contents(tmp_path)
    result = call(capsys, *training(maps, tmp_path / "run"))
    assert result.status == 2 and contents(tmp_path) == before
    assert f"This training needs about {1e-3 * n_voxels:.1f} GB of memory, and {2e-4 * n_voxels:.1f} GB are free." in (
        result.err
    )
    assert "Bin the maps first, by 2 it would need" in result.err and "volume bin #1 binSize 2" in result.err
    room_of(1000)
    assert "Close other programs" in call(capsys, *training(maps, tmp_path / "run")).err


def test_a_training_that_may_just_fit_is_told_so_and_made(maps, tmp_path, capsys, room_of):
    room_of(1.05 * memory_of_training(read_map(maps / "initial.mrc").density.size, 0))
    result = call(capsys, *training(maps, tmp_path / "run"))
    assert result.status == 0, result.err
    assert "This training needs about 0.4 GB of memory, and 0.5 GB are free. Should it run out: bin" in result.err or (
        "Should it run out: close other programs" in result.err
    )


def test_a_training_for_which_there_is_plenty_says_nothing_of_it(maps, tmp_path, capsys, room_of):
    for n_bytes in (100e9, None):
        room_of(n_bytes)
        assert " GB " not in call(capsys, *training(maps, tmp_path / "run", 4, 2, "--overwrite")).err


def test_resuming_and_predicting_look_too(maps, finished, tmp_path, capsys, room_of):
    room_of(1000)
    before = contents(finished.directory)
    resumed = call(capsys, "train", "--resume", "-d", finished.directory, "-n", 99)
    assert resumed.status == 2 and "This training needs about" in resumed.err
    predicted = call(
        *(
            capsys,
            "predict",
            "-i",
            maps / "initial.mrc",
            "-t",
            LEVEL,
            "--run",
            finished.directory,
            "-d",
            tmp_path / "out",
        )
    )
    assert predicted.status == 2 and "This prediction needs about 0.3 GB" in predicted.err
    assert contents(finished.directory) == before and not (tmp_path / "out").exists()


def test_the_gpu_is_asked_before_it_is_filled(maps, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3_000_000, 8_000_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1_000_000)
    gpu = torch.device("cuda", 0)
    room._check_gpu("training", 3.9e6, gpu)
    with pytest.raises(InputError, match=r"4\.1 GB of memory or more on the GPU, and 0\.0 GB are free\. Use a binning"):
        room._check_gpu("training", 4.1e9, gpu)
    room._check_gpu("training", 4.1e9, torch.device("cpu"))


def test_a_map_that_does_not_fit_is_not_read(maps, monkeypatch):
    monkeypatch.setattr(mrc_file, "_NEVER_TOO_MUCH", 0)
    monkeypatch.setattr(mrc_file, "room_for_process", lambda: 1000)
    with pytest.raises(InputError, match=r"initial\.mrc has \S+ voxels, which take .* are free\. Bin it first, or cut"):
        read_map(maps / "initial.mrc")


def test_memory_that_goes_once_costs_time_alone(maps, tmp_path, capsys, memory_goes):
    """Fewer points at a time are summed in another order, so that losses agree to rounding."""
    assert call(capsys, *training(maps, tmp_path / "whole", 6, 3)).status == 0
    made = memory_goes({4})
    result = call(capsys, *training(maps, tmp_path / "run", 6, 3))
    assert result.status == 0, result.err
    assert len(made) == 8  # seven losses, one of them taken again
    assert "Warning: Memory has run out at step 4: from here on fewer points are taken at a time" in result.err
    losses, whole = (np.loadtxt(tmp_path / name / "loss.log") for name in ("run", "whole"))
    np.testing.assert_allclose(losses, whole, rtol=1e-4)


def test_memory_that_goes_for_good_leaves_the_step_and_a_sentence(maps, tmp_path, capsys, memory_goes, monkeypatch):
    memory_goes(range(4, 100))
    result = call(capsys, *training(maps, tmp_path / "run", 6, 100))
    assert result.status == 2
    last = result.err.strip().splitlines()[-1]
    assert last.startswith("Out of memory. Use") and "The checkpoint of step 4" in last and "--resume" in last
    content = run_json(tmp_path / "run")
    assert (content["state"], content["step"]) == ("failed", 4)
    monkeypatch.undo()
    resumed = call(capsys, "train", "--resume", "-d", tmp_path / "run")
    assert resumed.status == 0, resumed.err
    assert call(capsys, *training(maps, tmp_path / "whole", 6, 100)).status == 0
    losses, whole = (np.loadtxt(tmp_path / name / "loss.log") for name in ("run", "whole"))
    np.testing.assert_allclose(losses, whole, rtol=1e-6)


def test_memory_that_goes_at_the_first_loss_leaves_nothing(maps, tmp_path, capsys, memory_goes):
    made = memory_goes(range(100))
    result = call(capsys, *training(maps, tmp_path / "run"))
    assert result.status == 2 and len(made) == 2 and "Out of memory" in result.err
    assert not (tmp_path / "run").exists()


def test_recipe_auto_goes_on_sparing_in_every_stage(maps, tmp_path, capsys, memory_goes):
    memory_goes({2})
    auto = ["--recipe", "auto", "--flow", "network", "-n", 8, "-p", 8, "--no-report", "--device", "cpu", "--seed", 1]
    line = [word for word in training(maps, tmp_path / "run") if word != "--w2_iter"]
    maps_of_it = line[: line.index("-d") + 2]
    result = call(capsys, *maps_of_it, *auto)
    assert result.status == 0, result.err
    assert result.err.count("Memory has run out") == 1


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RecursionError("maximum depth"), False),
        (OSError(12, "Cannot allocate memory"), False),
    ],
)
def test_what_counts_as_memory(error, is_one):
    assert is_of_memory(error) is is_one


def test_the_estimate_grows_with_the_box_and_is_a_number():
    sizes = [memory_of_training(side**3, side**3 // 50) for side in (16, 64, 256, 1024)]
    assert sizes == sorted(sizes) and all(math.isfinite(json.loads(json.dumps(size))) for size in sizes)
