"""Weight files, and the state that a stopped run goes on from.

A weight file is a PyTorch state dict with the keys v.n0.weight, v.n0.bias, v.n1.weight …, as CryoTRANS 1.0.0 writes
and reads it; depth and width follow from the tensors.  Files are read with `weights_only`, so none can run code.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import InputError
from .run_directory import write_atomically
from .velocity import VelocityField

_PREFIX = "v."


def save_weights(path: Path, velocity: VelocityField) -> None:
    """Write the network's weights; an earlier file of that name stays whole until the new one is.

    Raises:
        OSError: it cannot be written.
    """
    _save(path, {_PREFIX + name: value.detach().cpu() for name, value in velocity.state_dict().items()})


def load_weights(path: Path, depth: int | None = None, width: int | None = None) -> VelocityField:
    """Read a weight file, of this program or of CryoTRANS 1.0.0.

    Args:
        path: the file.
        depth, width: what the user said of the network, if anything.
    Returns:
        The velocity field, on the CPU.
    Raises:
        InputError: the file is missing, is no weight file, or is of another depth or width than said.
    """
    content = _load(path, "weight file", "Name a file that training wrote.")
    layers = _layers(content)
    if layers is None:
        raise InputError(
            f"{path} holds no CryoTRANS network: wanted are the tensors v.n0.weight (width × 3), v.n0.bias, "
            f"v.n1.weight … (the last 3 × width). Name a net.pt that training wrote."
        )
    found_depth = len(layers) // 2
    found_width = layers[0].shape[0] if found_depth > 1 else (width or 1)
    for word, said, found in (("depth", depth, found_depth), ("width", width, found_width)):
        if said is not None and said != found:
            raise InputError(
                f"{path} holds a network of depth {found_depth} and width {found_width}, which contradicts "
                f"--{word} {said}. Leave --depth and --width out: they are read off the file."
            )
    if not all(bool(torch.isfinite(value).all()) for value in layers):
        raise InputError(f"{path} holds weights that are not numbers: that training had diverged. Use an earlier file.")
    velocity = VelocityField(found_depth, found_width, seed=0)
    with torch.no_grad():
        for parameter, value in zip(velocity.parameters(), layers):
            parameter.copy_(value)
    return velocity


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a `Training.state`; an earlier file stays whole until the new one is.

    Raises:
        OSError: it cannot be written.
    """
    _save(path, dict(state))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    state = _load(path, "saved state", "Start a new run from the last weights (-w).")
    if not {"velocity", "optimizer", "losses"} <= set(state) or not isinstance(state.get("step"), int):
        raise InputError(f"{path} is not the saved state of a run. Start a new run from the last weights (-w).")
    return state


def _save(path: Path, content: dict[str, Any]) -> None:
    # Through memory: PyTorch's own writer turns a full disk into an error of another kind.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def _load(path: Path, what: str, way_out: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"There is no {what} {path}. Check the name.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own on odd pickles; the sentences below say it
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # torch raises whatever the unpickler meets
        raise InputError(
            f"{path} is not a {what} that can be read safely: it is damaged, of another kind, or holds code, which "
            f"is never run. {way_out}"
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} is not a {what}: it holds a {type(content).__name__}, wanted is a state dict. {way_out}"
        )
    return content


def _layers(content: Mapping[Any, Any]) -> list[Tensor] | None:
    """Weight and bias of each layer in turn, or None if the content is not a network from 3 to 3."""
    depth = sum(bool(re.fullmatch(r"v\.n\d+\.weight", str(key))) for key in content)
    names = [f"{_PREFIX}n{i}.{part}" for i in range(depth) for part in ("weight", "bias")]
    if depth == 0 or set(names) != set(content) or not all(isinstance(value, Tensor) for value in content.values()):
        return None
    layers = [content[name] for name in names]
    weights, biases = layers[::2], layers[1::2]
    width = weights[0].numel() // 3
    sizes = [3] + [width] * (depth - 1) + [3]
    fits = all(
        weight.shape == (n_out, n_in) and bias.shape == (n_out,) and weight.is_floating_point()
        for weight, bias, n_in, n_out in zip(weights, biases, sizes, sizes[1:])
    )
    return layers if fits else None
