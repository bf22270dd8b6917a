"""The transport's blur on NVIDIA GPUs whose float64 is slow: one CUDA kernel, compiled by CuPy where it is installed.

The kernel takes log Σ_y exp(v(y) - (x - y)²/epsilon) along the lines of one axis; three of them are `log_blur`, and the
last can subtract the result from log a, which is a Sinkhorn update.  It computes in float32, which alone would not do:
v reaches thousands, where float32 has steps of 1e-4.  So a number is kept as a pair of float32 whose sum it is, 48 bits
together (Knuth, The Art of Computer Programming 2, 4.2.2: the exact error of a sum), and all that is ever given to exp
is a difference from the line's leading term, in which the large parts cancel exactly.

The leading term need not be near x: what lies behind an empty voxel may outweigh it.  So no fixed window is taken.
Lines are cut in segments of which the highest v is known, and a segment is passed over where even that, at
the segment's nearest end, is 24 below the leading term: nothing that float32 could see is left out.

Tensors of pairs are (nz, ny, nx, 2), float32.  Lengths are in voxels.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Callable, Optional

import numpy as np
import torch
from torch import Tensor

LINES = 4  # neighbouring lines of a block: 32 bytes side by side in memory, what a GPU reads at least
SEGMENT = 16
THREADS = 128  # of a block
_SHARED_BYTES = 48 * 1024  # of a block, on any GPU
_EPSILONS = (1e-4, 1e6)  # voxels²; beyond these float32 ends, and so does any use
_FAST_FLOAT64 = {
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
}  # compute capabilities; others: 1/32 of float32 or less

SOURCE = (
    f"#define LINES {LINES}\n#define SEGMENT {SEGMENT}\n"
    + r"""
#define NEGLIGIBLE 24.0f  // exp(-24) of the leading term, a thousand times over, is less than float32 resolves
#define LOG2_E 1.44269504f

// a + b, and what rounding has left of it
__device__ float2 two_sum(float a, float b) {
    float sum = a + b;
    float of_b = sum - a;
    return make_float2(sum, (a - (sum - of_b)) + (b - of_b));
}

// The most that a term of a segment can be at x, whose highest v is given, and its first place seen from x.
__device__ float highest_term(float highest, float ahead, float2 inverse) {
    float away = fmaxf(0.0f, fmaxf(ahead, -ahead - (SEGMENT - 1)));
    return fmaf(-away * away, inverse.x, highest);
}

// Where in memory element x of a line is.
__device__ long long place(int line, int x, int n, int stride) {
    return ((long long)(line / stride) * n + x) * stride + line % stride;
}

// Lines of n elements, `stride` apart; a block takes LINES of them.  `source` may be `out`.  Without log_mass, out is
// the blur; with it, log_mass - blur.  `inverse` is 1/epsilon.
extern "C" __global__ void blur_lines(const float2* source, const float2* log_mass, float2* out, int n, int stride,
                                      int n_lines, float inverse_high, float inverse_low) {
    extern __shared__ float2 shared_memory[];
    float2* values = shared_memory;               // (n, LINES)
    float* highest = (float*)(values + n * LINES);  // (n_segments, LINES)
    const int n_segments = (n + SEGMENT - 1) / SEGMENT;
    const int first_line = blockIdx.x * LINES;
    const float2 inverse = make_float2(inverse_high, inverse_low);

    for (int k = threadIdx.x; k < n * LINES; k += blockDim.x) {
        int line = first_line + k % LINES;
        if (line < n_lines) values[k] = source[place(line, k / LINES, n, stride)];
    }
    __syncthreads();
    for (int k = threadIdx.x; k < n_segments * LINES; k += blockDim.x) {
        int first = k / LINES * SEGMENT, end = min(n, first + SEGMENT);
        float top = values[first * LINES + k % LINES].x;
        for (int y = first + 1; y < end; ++y) top = fmaxf(top, values[y * LINES + k % LINES].x);
        highest[k] = top;
    }
    __syncthreads();

    for (int k = threadIdx.x; k < n * LINES; k += blockDim.x) {
        const int column = k % LINES, x = k / LINES, line = first_line + column;
        if (line >= n_lines) continue;

        // Distances are whole numbers below 4096: float32 holds their squares exactly, and is not slow to count in.
        float2 lead = values[k];  // of the leading term: v, the squared distance, and the term in float32
        float lead_square = 0.0f, lead_term = lead.x, ahead = -(float)x;
        for (int s = 0; s < n_segments; ++s, ahead += SEGMENT) {
            if (highest_term(highest[s * LINES + column], ahead, inverse) <= lead_term) continue;
            float away = ahead;
            for (int y = s * SEGMENT, end = min(n, y + SEGMENT); y < end; ++y, away += 1.0f) {
                float2 value = values[y * LINES + column];
                float square = away * away;
                float term = fmaf(-square, inverse.x, value.x);
                if (term > lead_term) {
                    lead = value;
                    lead_square = square;
                    lead_term = term;
                }
            }
        }

        float sum = 0.0f;
        ahead = -(float)x;
        for (int s = 0; s < n_segments; ++s, ahead += SEGMENT) {
            if (highest_term(highest[s * LINES + column], ahead, inverse) < lead_term - NEGLIGIBLE) continue;
            float away = ahead;
            for (int y = s * SEGMENT, end = min(n, y + SEGMENT); y < end; ++y, away += 1.0f) {
                float2 value = values[y * LINES + column];
                float farther = away * away - lead_square;
                float difference = fmaf(-farther, inverse.x, value.x - lead.x)
                                 + fmaf(-farther, inverse.y, value.y - lead.y);
                sum += exp2f(LOG2_E * difference);
            }
        }

        float cost = __fmul_rn(lead_square, inverse.x);
        float cost_rest = fmaf(lead_square, inverse.x, -cost) + lead_square * inverse.y;
        float2 term = two_sum(lead.x, -cost);
        float2 blurred = two_sum(term.x, logf(sum));
        float2 result = two_sum(blurred.x, blurred.y + (term.y + (lead.y - cost_rest)));
        const long long here = place(line, x, n, stride);
        if (log_mass) {
            float2 mass = log_mass[here];
            float2 update = two_sum(mass.x, -result.x);
            result = two_sum(update.x, update.y + (mass.y - result.y));
        }
        out[here] = result;
    }
}
"""
)

# (source, log_mass, out, n, stride, n_lines, inverse_high, inverse_low): starts the kernel, does not wait for it.
Launch = Callable[[Tensor, Optional[Tensor], Tensor, int, int, int, float, float], None]


def reason_against(device: torch.device) -> str | None:
    """Why PyTorch alone is to be used on this GPU; None if the kernel is worth a try."""
    if torch.version.cuda is None:
        return "this GPU is not NVIDIA's"  # PyTorch calls AMD's "cuda" too
    if torch.cuda.get_device_capability(device) in _FAST_FLOAT64:
        return "this GPU is fast in float64"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    return None


def fits(grid_shape: tuple[int, ...], epsilon: float) -> bool:
    """Can the kernel take lines as long as these, and this epsilon (voxels²)?"""
    return shared_bytes(max(grid_shape)) <= _SHARED_BYTES and _EPSILONS[0] <= epsilon <= _EPSILONS[1]


def compile_for(device: torch.device) -> Launch:
    """Compile the kernel for a GPU.

    Raises:
        Exception: of any kind: CuPy or the driver do not do what they should.
    """
    import cupy

    with cupy.cuda.Device(device.index):
        kernel = cupy.RawModule(code=SOURCE).get_function("blur_lines")

    def launch(
        source: Tensor,
        log_mass: Tensor | None,
        out: Tensor,
        n: int,
        stride: int,
        n_lines: int,
        inverse_high: float,
        inverse_low: float,
    ) -> None:
        stream = _stream(cupy, torch.cuda.current_stream(device).cuda_stream)
        pointers = [tensor.data_ptr() if tensor is not None else 0 for tensor in (source, log_mass, out)]
        numbers = [np.int32(n), np.int32(stride), np.int32(n_lines), np.float32(inverse_high), np.float32(inverse_low)]
        with cupy.cuda.Device(device.index), stream:
            blocks = (n_lines + LINES - 1) // LINES
            kernel((blocks,), (THREADS,), (*pointers, *numbers), shared_mem=shared_bytes(n))

    return launch


def log_blur_of_pairs(launch: Launch, pairs: Tensor, epsilon: float, log_mass: Tensor | None = None) -> Tensor:
    """`log_blur` of pairs, or `log_mass - log_blur`.

    Args:
        launch: starts the kernel.
        pairs: (nz, ny, nx, 2), contiguous, on its device.
        epsilon: voxels², see `fits`.
        log_mass: (nz, ny, nx, 2), contiguous.
    Returns:
        (nz, ny, nx, 2).
    """
    nz, ny, nx, _ = pairs.shape
    n_voxels = nz * ny * nx
    high = float(np.float32(1 / epsilon))
    low = float(np.float32(1 / epsilon - high))
    out = torch.empty_like(pairs)
    # Every block reads all of its lines before it writes them: after the first axis, in place.
    launch(pairs, None, out, nx, 1, n_voxels // nx, high, low)
    launch(out, None, out, ny, nx, n_voxels // ny, high, low)
    launch(out, log_mass, out, nz, ny * nx, n_voxels // nz, high, low)
    return out


def to_pairs(values: Tensor) -> Tensor:
    """Pairs of float32 that sum up to float64 `values`, to 48 bits; (..., 2)."""
    high = values.float()
    return torch.stack((high, (values - high.double()).float()), dim=-1)


def from_pairs(pairs: Tensor) -> Tensor:
    """The sums, float64; (...,)."""
    return pairs[..., 0].double() + pairs[..., 1].double()


class _TorchStream:
    """A stream of PyTorch's under the name by which CuPy asks for it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


def _stream(cupy: Any, handle: int) -> Any:
    if hasattr(cupy.cuda.Stream, "from_external"):  # from CuPy 14 on, which means to give up the other
        return cupy.cuda.Stream.from_external(_TorchStream(handle))
    return cupy.cuda.ExternalStream(handle)


def shared_bytes(n: int) -> int:
    """The shared memory of a block for lines of n."""
    n_segments = (n + SEGMENT - 1) // SEGMENT
    return LINES * (8 * n + 4 * n_segments)
