"""Which device is chosen, and what is said of it."""

import platform
import subprocess
import sys

import pytest
import torch

from chimerax.cryotrans.engine.device import choose_device, use_threads
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.deposit import deposit
from chimerax.cryotrans.engine.training.loss import Target, transport_loss


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")


def test_auto_takes_the_cpu_where_there_is_no_gpu_and_says_so(no_gpu):
    device, why = choose_device("auto")
    assert device.type == "cpu"
    assert "no NVIDIA or Apple GPU" in why
    assert choose_device("auto", gpu=0)[0].type == "cpu"  # -g 0 is the published default


def test_auto_takes_an_apple_gpu_before_the_cpu(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    device, why = choose_device("auto")
    assert device.type == "mps"
    assert "Apple" in why


@pytest.mark.parametrize(
    ("name", "gpu", "wanted"), [("auto", None, 0), ("auto", 1, 1), ("cuda", None, 0), ("cuda", 1, 1), ("cuda:1", 0, 1)]
)
def test_an_nvidia_gpu_is_found_by_its_number(two_gpus, name, gpu, wanted):
    device, why = choose_device(name, gpu)
    assert device == torch.device("cuda", wanted)
    assert f"Card {wanted}" in why


@pytest.mark.parametrize(
    ("name", "gpu", "words"),
    [
        ("gpu", None, "auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", None, "Unknown device"),
        ("cuda", None, "no NVIDIA GPU.*device cpu"),
        ("cuda:7", None, "GPU 7 is not there"),
        ("auto", 3, "GPU 3 is not there"),
        ("mps", None, "no Apple GPU"),
    ],
)
def test_a_device_that_is_not_there_is_refused(no_gpu, name, gpu, words):
    with pytest.raises(InputError, match=words):
        choose_device(name, gpu)


def test_a_number_beyond_the_last_gpu_is_refused_with_their_count(two_gpus):
    with pytest.raises(InputError, match="2 NVIDIA GPUs"):
        choose_device("cuda:2")


def _loss_and_gradient(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(50, 3, generator=random) * 8 + 2
    weights = torch.rand(50, generator=random)
    target = deposit(points + 1.5, weights, (14, 14, 14))
    points = points.to(device).requires_grad_()
    value = transport_loss(points, weights.to(device), Target.of(target.to(device)), 0.5, 5).value
    value.backward()
    return value.detach().cpu(), points.grad.cpu()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_gpu_agrees_with_the_cpu(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    if device == "mps" and not torch.backends.mps.is_available():
        pytest.skip("needs an Apple GPU")
    for found, wanted in zip(_loss_and_gradient(device), _loss_and_gradient("cpu")):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_little_work_gets_one_thread_and_much_gets_all():
    before = torch.get_num_threads()
    try:
        for work, wanted in ((1_872 * 100, 1), (50_000 * 100, 2)):
            use_threads(torch.device("cpu"), work, most=2)
            assert torch.get_num_threads() == wanted
        use_threads(torch.device("meta"), 1, most=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_denormal_numbers_are_zero_and_numpy_does_not_complain():
    """In a process of its own: what NumPy has looked at once it does not look at again."""
    code = (
        "import warnings; warnings.simplefilter('error'); import numpy as np, torch\n"
        "from chimerax.cryotrans.engine.device import choose_device\n"
        "choose_device('cpu'); np.finfo(np.float32); np.finfo(np.float64); np.spacing(1.0)\n"
        "print(float((torch.full((4,), 1e-39) * 0.5).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) == 0 or platform.machine() not in ("x86_64", "AMD64")
