"""Weight files, and the state that a stopped run goes on from.

A weight file is a PyTorch state dict with the keys v.n0.weight, v.n0.bias, v.n1.weight …, as CryoTRANS 1.0.0 writes
and reads it; depth and width follow from the tensors.  Fields that it does not know (domains, symmetry) are kept as
the kind of flow and the tensors of each of their parts.  Files are read with `weights_only`, so none can run code.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, first_line, named
from ..files.writing import write_atomically
from .domains import CombinedField, DomainField, LayeredField, SymmetricField
from .symmetry import Symmetry
from .velocity import Field, VelocityField

_PREFIX = "v."
_ORTHOGONAL = 1e-3  # how far from it a rotation may be
_MOST_TURNS = 120  # of the largest group
_DEEPEST = 10  # dicts within dicts; those of a recipe's state are half of it
_FLOW_OF = {DomainField: "domains", SymmetricField: "network", CombinedField: "both", LayeredField: "layers"}


def save_weights(path: Path, field: Field) -> None:
    """Write a field's weights; an earlier file of that name stays whole until the new one is.

    Raises:
        OSError: it cannot be written.
    """
    _save(path, state_of_field(field))


def load_weights(path: Path, depth: int | None = None, width: int | None = None) -> Field:
    """Read a weight file, of this program or of CryoTRANS 1.0.0.

    Args:
        path: the file.
        depth, width: what the user said of the network, if anything.
    Returns:
        The field, on the CPU.
    Raises:
        InputError: the file is missing, is no weight file, or is of another depth or width than said.
    """
    field = field_of_state(_load(path, "weight file", "Name a file that training wrote."), str(path))
    network = _network_of(field)
    for word, said in (("depth", depth), ("width", width)):
        if said is None or (network is not None and said == getattr(network, word)):
            continue
        if network is not None and network.depth == 1 and depth in (None, 1):
            continue  # one layer has no width
        what = f"a network of depth {network.depth} and width {network.width}" if network else "no network but domains"
        raise InputError(
            f"{path} holds {what}, which contradicts {named(word)} {said}. Leave {named('depth')} and {named('width')} "
            f"out: they are read off the file."
        )
    if not all(bool(torch.isfinite(value).all()) for value in field.parameters()):
        raise InputError(f"{path} holds weights that are not numbers: that training had diverged. Use an earlier file.")
    return field


def state_of_field(field: Field) -> dict[str, Any]:
    """A field as tensors and words, on the CPU; what `field_of_state` reads."""
    if isinstance(field, VelocityField):
        return {_PREFIX + name: value.detach().cpu() for name, value in field.state_dict().items()}
    symmetry = getattr(field, "symmetry", None)
    content: dict[str, Any] = {"flow": _FLOW_OF[type(field)]}
    if symmetry is not None:
        content["symmetry"] = {
            "name": symmetry.name,
            "rotations": symmetry.rotations.cpu(),
            "centre": symmetry.centre.cpu(),
        }
    if isinstance(field, DomainField):
        content["domains"] = {name: value.detach().cpu() for name, value in field.state_dict().items()}
    elif isinstance(field, LayeredField):
        content["domains"], content["layer"] = (state_of_field(part)["domains"] for part in (field.large, field.small))
    elif isinstance(field, SymmetricField):
        content["network"] = state_of_field(field.network)
    elif isinstance(field, CombinedField):
        content["domains"] = state_of_field(field.domains)["domains"]
        network = field.network
        content["network"] = state_of_field(network.network if isinstance(network, SymmetricField) else network)
    return content


def field_of_state(content: Mapping[str, Any], name: str = "The saved state") -> Field:
    """The field that `state_of_field` describes, on the CPU.

    Args:
        content: what was read.
        name: of the file, for the error.
    Raises:
        InputError: it describes no field.
    """
    if "flow" not in content:
        return _network(content, name)
    try:
        symmetry = _symmetry(content["symmetry"]) if "symmetry" in content else None
        network: Any = _network(content["network"], name) if "network" in content else None
        if network is not None and symmetry is not None:
            network = SymmetricField(network, symmetry)
        domains = _domains(content["domains"], symmetry) if "domains" in content else None
        if content["flow"] == "layers" and domains is not None:
            return LayeredField(domains, _domains(content["layer"], symmetry))
        found = {"domains": domains, "network": network}
        if content["flow"] == "both" and domains is not None and network is not None:
            return CombinedField(domains, network)
        field = found[content["flow"]]
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{name} holds no flow of this program ({first_line(error)}). Name a file that training wrote."
        ) from error
    if field is None:
        raise InputError(f"{name} holds no flow of this program. Name a file that training wrote.")
    return field


def _domains(tensors: Mapping[str, Tensor], symmetry: Symmetry | None) -> DomainField:
    kept = {name: tensors[name].float() for name in tensors}  # all of one kind, as the points will be
    centres, spread, arm = (kept[name] for name in ("centres", "spread", "arm"))
    if not (centres.ndim == 2 and len(centres) and centres.shape[1] == 3 and _is_length(spread) and _is_length(arm)):
        raise ValueError("its domains have no centres or no extent")
    domains = DomainField(centres, spread, arm, symmetry)
    domains.load_state_dict(kept)
    return domains


def _is_length(value: Tensor) -> bool:
    return value.ndim == 0 and 0 < float(value) < math.inf


def _symmetry(content: Mapping[str, Any]) -> Symmetry:
    symmetry = Symmetry(**content)
    turns, centre, n = symmetry.rotations, symmetry.centre, len(symmetry.rotations)
    fits = (
        isinstance(symmetry.name, str) and turns.shape == (n, 3, 3) and centre.shape == (3,) and 1 <= n <= _MOST_TURNS
    )
    if not fits or not turns.is_floating_point() or not bool(torch.isfinite(centre).all()):
        raise ValueError("its symmetry is none")
    if not torch.allclose(turns @ turns.mT, torch.eye(3).to(turns), atol=_ORTHOGONAL):
        raise ValueError("its symmetry is no rotation")
    return symmetry


def _network(content: Mapping[str, Any], name: str) -> VelocityField:
    layers = _layers(content)
    if layers is None:
        raise InputError(
            f"{name} holds no CryoTRANS network: wanted are the tensors v.n0.weight (width × 3), v.n0.bias, "
            f"v.n1.weight … (the last 3 × width). Name a net.pt that training wrote."
        )
    depth = len(layers) // 2
    velocity = VelocityField(depth, layers[0].shape[0] if depth > 1 else 1, seed=0)
    with torch.no_grad():
        for parameter, value in zip(velocity.parameters(), layers):
            parameter.copy_(value)
    return velocity


def _network_of(field: Field) -> VelocityField | None:
    if isinstance(field, CombinedField):
        field = field.network
    return field.network if isinstance(field, SymmetricField) else field if isinstance(field, VelocityField) else None


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
    state = _load(path, "saved state", f"Start a new run from the last weights ({named('weight')}).")
    if not {"velocity", "optimizer", "losses"} <= set(state) or not isinstance(state.get("step"), int):
        raise InputError(
            f"{path} is not the saved state of a run. Start a new run from the last weights ({named('weight')})."
        )
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
    if not _is_plain(content, path.stat().st_size):
        raise InputError(f"{path} is not a {what}: it holds tensors that are larger than the file. {way_out}")
    return content


def _is_plain(content: Any, n_bytes: int, depth: int = 0) -> bool:
    """Whether all is numbers, words and tensors in dicts and lists, none of which claims more than a file of this size.

    A few bytes can be called a tensor of any shape, all of whose values are the same one; what computes with it takes
    the memory of them all.
    """
    if isinstance(content, Tensor):
        plain = content.layout == torch.strided and content.device.type == "cpu" and not content.is_quantized
        return plain and content.numel() * content.element_size() <= n_bytes
    if isinstance(content, (dict, list, tuple)) and depth < _DEEPEST and len(content) <= n_bytes:
        values = [*content, *content.values()] if isinstance(content, dict) else content
        return all(_is_plain(value, n_bytes, depth + 1) for value in values)
    return content is None or isinstance(content, (bool, int, float, str))


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
