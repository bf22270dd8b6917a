"""The CUDA kernel without a GPU: its very source run on the CPU and translated by NVIDIA's compiler; and on a GPU.

Run on the CPU (`gpu_on_cpu.cpp`), it is compared with `log_blur`, the full cost matrix, `sinkhorn` and the reference
numbers, all of them float64.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerax.cryotrans.engine.transport import cuda_kernels
from chimerax.cryotrans.engine.transport import sinkhorn as module
from chimerax.cryotrans.engine.transport.cuda_kernels import (
    LINES,
    SOURCE,
    from_pairs,
    log_blur_of_pairs,
    shared_bytes,
    to_pairs,
)
from chimerax.cryotrans.engine.transport.sinkhorn import log_blur, sinkhorn, transport_path

# Of log Σ exp, whatever its size.  A difference of two terms is known to 1e-7 of the terms' parts that do not cancel.
BLUR = {"rtol": 1e-9, "atol": 3e-6}


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """Make a `Launch` that runs the kernel on the CPU with so many threads a block; None: the bare function."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    folder = tmp_path_factory.mktemp("gpu_on_cpu")
    (folder / "kernel.cu").write_text(SOURCE)
    # Without contraction only the kernel's own fmaf are fused: what a GPU fuses besides is nearer the truth.
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", f'-DKERNEL="{folder}/kernel.cu"']
    subprocess.run(
        [compiler, *flags, "-o", folder / "kernel.so", Path(__file__).with_name("gpu_on_cpu.cpp")], check=True
    )
    run = ctypes.CDLL(str(folder / "kernel.so")).run
    run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 3 + [ctypes.c_float] * 2 + [ctypes.c_int] * 3

    def checked_run(*arguments):
        status = run(*arguments)
        assert status == 0, {1: "wrote beyond its shared memory", 2: "threads part at __syncthreads"}[status]

    def with_threads(n_threads):
        def launch(source, log_mass, out, n, stride, n_lines, high, low):
            tensors = [tensor for tensor in (source, log_mass, out) if tensor is not None]
            assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in tensors)
            pointers = [tensor.data_ptr() if tensor is not None else None for tensor in (source, log_mass, out)]
            n_blocks = (n_lines + LINES - 1) // LINES
            checked_run(*pointers, n, stride, n_lines, high, low, n_blocks, n_threads, shared_bytes(n))

        return launch if n_threads else checked_run

    return with_threads


@pytest.fixture(scope="session")
def launch(emulated):
    return emulated(7)  # an odd number of threads, so that their shares of the work differ


def _blurred(launch, log_mass, epsilon, minuend=None):
    minuend = None if minuend is None else to_pairs(minuend)
    return from_pairs(log_blur_of_pairs(launch, to_pairs(log_mass), epsilon, minuend))


def _potential(shape, seed, slope=30.0, empty=0.5):
    """Values as potentials have them: steep, and far down in empty voxels."""
    random = np.random.default_rng(seed)
    grids = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    values = sum(random.uniform(-slope, slope) * grid for grid in grids) + random.normal(size=shape)
    return torch.from_numpy(values - 46.0 * (random.random(shape) < empty))


# Run on the CPU


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 1, 31), (1, 33, 2), (31, 3, 5), (257, 1, 2), (5, 2, 257), (17, 16, 15)]
)
@pytest.mark.parametrize("epsilon", [0.05, 2.56, 60.0])
def test_blur_is_that_of_float64(launch, shape, epsilon):
    log_mass = _potential(shape, seed=1)
    torch.testing.assert_close(_blurred(launch, log_mass, epsilon), log_blur(log_mass, epsilon), **BLUR)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3).filter(lambda shape: np.prod(shape) < 4000),
    seed=st.integers(0, 2**16),
    epsilon=st.floats(-4, 6).map(lambda power: 10**power),  # all that `fits` lets pass
    slope=st.floats(0, 100),
    empty=st.floats(0, 1),
)
def test_blur_is_that_of_float64_for_any_box(launch, shape, seed, epsilon, slope, empty):
    log_mass = _potential(shape, seed, slope, empty)
    torch.testing.assert_close(_blurred(launch, log_mass, epsilon), log_blur(log_mass, epsilon), **BLUR)


@pytest.mark.parametrize("epsilon", [0.5, 20.0])
def test_blur_is_that_of_the_full_cost_matrix(launch, epsilon):
    log_mass = _potential((3, 5, 18), seed=2)
    x = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in log_mass.shape])
    full = torch.logsumexp(log_mass.ravel() - ((x[:, None] - x) ** 2).sum(-1) / epsilon, dim=1)
    torch.testing.assert_close(_blurred(launch, log_mass, epsilon), full.reshape(3, 5, 18), **BLUR)


def test_a_leading_term_at_the_other_end_of_a_long_line_is_found(launch):
    log_mass = torch.full((1, 1, 300), -1e6, dtype=torch.float64)
    log_mass[0, 0, 3] = 0
    squares = (torch.arange(300, dtype=torch.float64) - 3) ** 2
    torch.testing.assert_close(_blurred(launch, log_mass, 4.0)[0, 0], -squares / 4, **BLUR)


def test_update_subtracts_the_blur(launch):
    log_mass, minuend = _potential((4, 6, 19), seed=3), _potential((4, 6, 19), seed=4)
    wanted = minuend - log_blur(log_mass, 2.0)
    torch.testing.assert_close(_blurred(launch, log_mass, 2.0, minuend), wanted, **BLUR)


def test_the_number_of_threads_changes_nothing(emulated):
    log_mass = _potential((6, 7, 40), seed=5)
    one, many = (_blurred(emulated(n), log_mass, 2.0) for n in (1, cuda_kernels.THREADS))
    assert torch.equal(one, many)


def test_pairs_hold_48_bits():
    values = _potential((3, 4, 5), seed=6) * 100
    torch.testing.assert_close(from_pairs(to_pairs(values)), values, rtol=2**-47, atol=0)


def test_the_source_is_left_as_it_was(launch):
    pairs = to_pairs(_potential((3, 4, 5), seed=7))
    before = pairs.clone()
    log_blur_of_pairs(launch, pairs, 2.0)
    assert torch.equal(pairs, before)


@pytest.mark.parametrize("case", ["w2_a", "w2_b"])
def test_loss_and_potentials_are_those_of_the_reference(launch, reference, case):
    a, b = (torch.from_numpy(reference[f"{case}_{name}"]).double() for name in ("initial", "target"))
    area = 1 / max(a.shape) ** 2  # of a voxel's face in units of the box
    epsilon = float(reference[f"{case}_epsilon"])
    found = module._sinkhorn_by_pairs(launch, a, b, epsilon / area, int(reference[f"{case}_iterations"]))
    assert float(found.loss) * area == pytest.approx(float(reference[f"{case}_loss"]), rel=1e-6)
    for potential, name in ((found.potential_initial, "initial"), (found.potential_target, "target")):
        np.testing.assert_allclose(
            potential.numpy() * area, reference[f"{case}_gradient_{name}"], rtol=0, atol=5e-6 * epsilon
        )


def _apart(shape, distance):
    """Two balls of one mass, so far apart along x, in an empty box."""
    grids = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in shape], indexing="ij")
    balls = []
    for shift in (-distance / 2, distance / 2):
        middle = [(n - 1) / 2 for n in shape]
        middle[2] += shift
        away = sum((grid - m) ** 2 for grid, m in zip(grids, middle))
        balls.append(torch.where(away < 9, torch.exp(-away / 6), torch.zeros_like(away)))
    return balls[0], balls[1] * balls[0].sum() / balls[1].sum()


@pytest.mark.parametrize("epsilon", [0.4, 2.56])
@pytest.mark.parametrize("n_iterations", [1, 5, 30])
def test_rounds_are_those_of_float64(launch, epsilon, n_iterations):
    a, b = _apart((9, 11, 48), 20.0)
    known, found = sinkhorn(a, b, epsilon, n_iterations), module._sinkhorn_by_pairs(launch, a, b, epsilon, n_iterations)
    assert found.n_iterations == known.n_iterations
    assert module._difference(found, known, epsilon, float(a.sum())) < 1e-5
    torch.testing.assert_close(found.marginal_error, known.marginal_error, rtol=1e-4, atol=1e-6)


# What is used, and what is said of it


@pytest.fixture
def pretended(monkeypatch):
    """A gaming GPU with CuPy, of which only the kernel is missing; `_sinkhorn_on_nvidia` is given CPU tensors."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "cupy" else find_spec(name))
    monkeypatch.setattr(module, "_paths", {})
    return torch.device("cpu")


def _said(device):
    """`transport_path` of a pretended GPU, which is known by its real device."""
    path = module._paths[device]
    return path.launch is not None, path.why


def test_kernel_is_used_after_it_agreed(launch, pretended, monkeypatch):
    a, b = _apart((5, 6, 30), 8.0)
    called = []
    monkeypatch.setattr(cuda_kernels, "compile_for", lambda device: called.append(device) or launch)
    known = sinkhorn(a, b, 2.0, 5)
    first, second = (module._sinkhorn_on_nvidia(a, b, 2.0, 5) for _ in range(2))
    assert torch.equal(first.loss, known.loss) and called == [pretended]
    assert not torch.equal(second.potential_initial, known.potential_initial)  # float32 was at work
    torch.testing.assert_close(second.potential_initial, known.potential_initial, rtol=0, atol=1e-5)
    used, why = _said(pretended)
    assert used and "agreed with PyTorch" in why


class _CuPy:
    """As much of CuPy as `compile_for` calls, with the emulated kernel in place of a compiled one."""

    def __init__(self, emulated):
        self._emulated = emulated
        self.cuda = SimpleNamespace(
            Device=lambda index: nullcontext(), ExternalStream=lambda handle: nullcontext(), Stream=object
        )

    def RawModule(self, code):
        assert code == SOURCE
        return self

    def get_function(self, name):
        assert f'extern "C" __global__ void {name}(' in SOURCE
        return self._kernel

    def _kernel(self, grid, block, arguments, shared_mem):
        assert all(type(pointer) is int for pointer in arguments[:3])  # CuPy hands these on as 8 bytes
        assert [type(number) for number in arguments[3:]] == [np.int32] * 3 + [np.float32] * 2
        *pointers, n, stride, n_lines, high, low = (argument or None for argument in arguments)
        self._emulated(*pointers, n, stride, n_lines, high, low or 0, grid[0], block[0], shared_mem)


def test_cupy_is_given_what_the_kernel_takes(emulated, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", _CuPy(emulated(None)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    launch = cuda_kernels.compile_for(torch.device("cpu"))
    log_mass, minuend = _potential((5, 6, 19), seed=8), _potential((5, 6, 19), seed=9)
    wanted = minuend - log_blur(log_mass, 1.7)
    torch.testing.assert_close(_blurred(launch, log_mass, 1.7, minuend), wanted, **BLUR)


def _wrong(launch):
    def wrong_launch(source, log_mass, out, *rest):
        launch(source, log_mass, out, *rest)
        out[0, 0, 0, 0] += 1e-3

    return wrong_launch


def _no_numbers(launch):
    return lambda source, log_mass, out, *rest: out.fill_(float("nan"))


def _failing(launch):
    def fail(*arguments):
        raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED:\n  unspecified launch failure")

    return fail


@pytest.mark.parametrize(
    ("broken", "words"), [(_wrong, "differed"), (_no_numbers, "differed"), (_failing, "RuntimeError: CUDA_ERROR")]
)
def test_a_kernel_that_is_wrong_or_fails_is_not_used_again(launch, pretended, monkeypatch, broken, words):
    a, b = _apart((5, 6, 30), 8.0)
    compiled = []
    monkeypatch.setattr(cuda_kernels, "compile_for", lambda device: compiled.append(1) or broken(launch))
    for _ in range(2):
        found = module._sinkhorn_on_nvidia(a, b, 2.0, 5)
        assert torch.equal(found.potential_initial, sinkhorn(a, b, 2.0, 5).potential_initial)
    used, why = _said(pretended)
    assert not used and words in why and "\n" not in why and len(compiled) == 1


def test_a_kernel_that_fails_later_is_not_used_again(launch, pretended, monkeypatch):
    a, b = _apart((5, 6, 30), 8.0)
    module._paths[pretended] = module._Path(_failing(launch), "it agreed")
    found = module._sinkhorn_on_nvidia(a, b, 2.0, 5)
    assert torch.equal(found.potential_initial, sinkhorn(a, b, 2.0, 5).potential_initial)
    used, why = _said(pretended)
    assert not used and "the CUDA kernel failed (RuntimeError" in why


@pytest.mark.parametrize(("shape", "epsilon"), [((1, 1, 2000), 1.0), ((4, 4, 4), 1e-9), ((4, 4, 4), 1e12)])
def test_what_the_kernel_cannot_take_is_left_to_pytorch(pretended, shape, epsilon):
    a = torch.ones(shape, dtype=torch.float64)
    module._sinkhorn_on_nvidia(a, a, epsilon, 1)
    used, why = _said(pretended)
    assert not used and "beyond what the CUDA kernel can take" in why
    module._paths[pretended] = module._Path(None, "it failed")
    module._sinkhorn_on_nvidia(a, a, epsilon, 1)
    assert _said(pretended) == (False, "it failed")


def test_gpus_that_are_fast_in_float64_keep_to_it(pretended, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert "fast in float64" in cuda_kernels.reason_against(pretended)


def test_gpus_of_others_are_left_to_pytorch(pretended, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cuda_kernels.reason_against(pretended) == "this GPU is not NVIDIA's"


def test_without_cupy_pytorch_does_it(pretended, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cuda_kernels.reason_against(pretended) == "CuPy is not installed"


def test_what_is_said_of_each_path(pretended):
    assert transport_path(torch.device("cpu")) == "The transport is computed by PyTorch in float64."
    gpu = torch.device("cuda", 3)
    assert "if it agrees with PyTorch" in transport_path(gpu)
    module._paths[gpu] = module._Path(None, "CuPy is not installed")
    assert transport_path(gpu) == "The transport is computed by PyTorch in float64: CuPy is not installed."
    module._paths[gpu] = module._Path(_failing(None), "at the first step it agreed with PyTorch to 1e-06")
    assert transport_path(gpu).startswith("The transport is computed by the CUDA kernel: at the first step it agreed")


# NVIDIA's compiler


@pytest.fixture(scope="module")
def nvrtc():
    """NVIDIA's run-time compiler, which needs no GPU: a package of that name, also part of PyTorch for CUDA."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = sorted(path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.1?"))
    if not found:
        pytest.skip("needs NVIDIA's compiler (Linux: pip install nvidia-cuda-nvrtc-cu12)")
    return ctypes.CDLL(str(found[-1]))


@pytest.mark.parametrize("architecture", ["compute_75", "compute_80", "compute_90"])
def test_nvidias_compiler_takes_the_source(nvrtc, architecture):
    program = ctypes.c_void_p()
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), SOURCE.encode(), b"kernel.cu", 0, None, None) == 0
    status = nvrtc.nvrtcCompileProgram(program, 1, options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert b".entry blur_lines" in ptx.value
    assert b".f64" not in ptx.value, "float64 is what the kernel is there to avoid"


# On a GPU


@pytest.mark.skipif(
    not (torch.cuda.is_available() and importlib.util.find_spec("cupy")), reason="needs an NVIDIA GPU and CuPy"
)
class TestOnAGPU:
    @pytest.mark.parametrize("shape", [(1, 1, 1), (33, 2, 31), (5, 2, 257), (1, 1, 1400)])
    def test_blur_is_that_of_float64(self, shape):
        device = torch.device("cuda", torch.cuda.current_device())
        log_mass = _potential(shape, seed=1).to(device)
        found = _blurred(cuda_kernels.compile_for(device), log_mass, 2.56)
        torch.testing.assert_close(found, log_blur(log_mass, 2.56), **BLUR)

    def test_rounds_are_those_of_float64(self, monkeypatch):
        monkeypatch.setattr(cuda_kernels, "reason_against", lambda device: None)  # also where float64 is fast
        monkeypatch.setattr(module, "_paths", {})
        device = torch.device("cuda", torch.cuda.current_device())
        a, b = (density.to(device) for density in _apart((30, 41, 64), 20.0))
        known = sinkhorn(a, b, 2.56, 5)
        found = sinkhorn(a, b, 2.56, 5)
        assert "by the CUDA kernel" in transport_path(device)
        assert module._difference(found, known, 2.56, float(a.sum())) < 1e-5
