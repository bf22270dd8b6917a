"""Weight files: both ways with CryoTRANS' format, and everything that is not one."""

import os
import pickle

import pytest
import torch

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.checkpoint import load_weights, save_weights
from chimerax.cryotrans.engine.flow.velocity import VelocityField


def _state(depth: int = 3, width: int = 8) -> dict[str, torch.Tensor]:
    """What CryoTRANS 1.0.0 saves: a plain state dict."""
    return {f"v.{name}": value.clone() for name, value in VelocityField(depth, width, 0).state_dict().items()}


@pytest.mark.parametrize(("depth", "width"), [(1, 100), (2, 5), (3, 8), (6, 40)])
def test_depth_and_width_are_read_off_the_file(tmp_path, depth, width):
    torch.save(_state(depth, width), tmp_path / "net.pt")
    velocity = load_weights(tmp_path / "net.pt")
    assert velocity.depth == depth
    assert depth == 1 or velocity.width == width
    for name, value in velocity.state_dict().items():
        assert torch.equal(value, _state(depth, width)[f"v.{name}"])


def test_a_file_of_the_published_program_is_read(start_weights):
    velocity = load_weights(start_weights, depth=3, width=100)
    assert (velocity.depth, velocity.width) == (3, 100)


def test_what_is_saved_is_a_plain_state_dict(tmp_path):
    velocity = VelocityField(4, 6, seed=1)
    save_weights(tmp_path / "net.pt", velocity)
    content = torch.load(tmp_path / "net.pt", weights_only=True)
    assert list(content) == [f"v.n{i}.{part}" for i in range(4) for part in ("weight", "bias")]
    assert torch.equal(content["v.n2.weight"], velocity.n2.weight)
    assert os.listdir(tmp_path) == ["net.pt"]


class _Code:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_weight_file",)


def _without(name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in _state().items() if key != name}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2, 3], "wanted is a state dict"),
        ({}, "holds no CryoTRANS network"),
        ({"weight": torch.zeros(3)}, "holds no CryoTRANS network"),
        (_without("v.n1.bias"), "holds no CryoTRANS network"),
        (_without("v.n0.weight"), "holds no CryoTRANS network"),
        (_state() | {"v.n1.weight": torch.zeros(8, 7)}, "holds no CryoTRANS network"),
        (_state() | {"v.n2.weight": torch.zeros(4, 8), "v.n2.bias": torch.zeros(4)}, "holds no CryoTRANS network"),
        (_state() | {"v.n0.bias": torch.full((8,), float("nan"))}, "not numbers"),
        (_Code(), "holds code, which is never run"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "net.pt")
    with pytest.raises(InputError, match=words):
        load_weights(tmp_path / "net.pt")
    assert os.listdir(tmp_path) == ["net.pt"]


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:500], lambda b: b"text", lambda b: pickle.dumps({})])
def test_damaged_files_are_refused(tmp_path, damage):
    torch.save(_state(), tmp_path / "net.pt")
    path = tmp_path / "net.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"net\.pt"):
        load_weights(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="There is no weight file"):
        load_weights(tmp_path / "net.pt")


@pytest.mark.parametrize(("said", "words"), [({"width": 9}, "width 9"), ({"depth": 4}, "depth 4")])
def test_a_contradicting_depth_or_width_is_refused(tmp_path, said, words):
    torch.save(_state(), tmp_path / "net.pt")
    with pytest.raises(InputError, match=f"depth 3 and width 8.*{words}"):
        load_weights(tmp_path / "net.pt", **said)
