"""The steps are those of torch.optim.Adam, which is the measure here, to the last bit."""

import subprocess
import sys

import pytest
import torch

from chimerax.cryotrans.engine.adam import Adam

_RATES = (0.1, 0.003)


def _parameters():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((3, 4), (5,), (2,))]


def _derive(parameters, step):
    """Derivatives of many magnitudes; the last parameter has none at first, as a part of a field that is held."""
    generator = torch.Generator().manual_seed(100 + step)
    for place, parameter in enumerate(parameters):
        if place == 2 and step < 4:
            parameter.grad = None
        else:
            parameter.grad = torch.randn(parameter.shape, generator=generator) * 10.0 ** (step % 5 - 3)


def _pair(epsilon=1e-8):
    ours, theirs = _parameters(), _parameters()
    groups = [{"params": theirs[:1], "lr": _RATES[0]}, {"params": theirs[1:], "lr": _RATES[1]}]
    adam = Adam((ours[:1], _RATES[0]), (ours[1:], _RATES[1]), epsilon=epsilon)
    return ours, adam, theirs, torch.optim.Adam(groups, eps=epsilon)


def _go(steps, *pairs):
    for step in steps:
        for parameters, optimiser in pairs:
            _derive(parameters, step)
            optimiser.step()


def _assert_same(ours, theirs):
    for a, b in zip(ours, theirs):
        assert torch.equal(a, b)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-16, 1e-3])
def test_steps_are_those_of_pytorch(epsilon):
    ours, adam, theirs, reference = _pair(epsilon)
    _go(range(12), (ours, adam), (theirs, reference))
    _assert_same(ours, theirs)


def test_rates_follow_a_schedule_as_pytorch_s():
    ours, adam, theirs, reference = _pair()
    schedule = torch.optim.lr_scheduler.LambdaLR(reference, lambda step: 0.05 ** (step / 10))
    for step in range(10):
        adam.scale_rates(0.05 ** (step / 10))
        _go([step], (ours, adam), (theirs, reference))
        schedule.step()
    _assert_same(ours, theirs)


def test_a_rate_can_be_set_for_all_groups():
    ours, adam, theirs, reference = _pair()
    adam.set_rate(0.02)
    for group in reference.param_groups:
        group["lr"] = 0.02
    _go(range(6), (ours, adam), (theirs, reference))
    _assert_same(ours, theirs)


def test_a_state_is_gone_on_from_exactly():
    ours, adam, theirs, _ = _pair()
    _go(range(8), (ours, adam))
    _go(range(5), (theirs, first := Adam((theirs[:1], _RATES[0]), (theirs[1:], _RATES[1]))))
    second = Adam((theirs[:1], 7.0), (theirs[1:], 7.0))
    second.restore(first.state())
    _go(range(5, 8), (theirs, second))
    _assert_same(ours, theirs)


def test_a_state_of_pytorch_s_is_understood():
    ours, adam, theirs, reference = _pair()
    _go(range(8), (ours, adam))
    _go(range(5), (theirs, reference))
    second = Adam((theirs[:1], 7.0), (theirs[1:], 7.0))
    second.restore(reference.state_dict())
    _go(range(5, 8), (theirs, second))
    _assert_same(ours, theirs)


def test_a_memory_is_a_copy_and_leaves_the_rates():
    ours, adam, *_ = _pair()
    _go(range(3), (ours, adam))
    others = _parameters()
    other = Adam((others[:1], 0.5), (others[1:], 0.5))
    other.restore_memory(adam.state())
    before = other.state()["state"][0]["exp_avg"].clone()
    _go(range(3, 5), (ours, adam))
    assert torch.equal(other.state()["state"][0]["exp_avg"], before)
    assert [group["lr"] for group in other.state()["param_groups"]] == [0.5, 0.5]


def test_a_state_of_other_parameters_is_refused():
    adam = Adam(([torch.zeros(3, requires_grad=True)], 0.1))
    with pytest.raises((IndexError, ValueError)):
        ours, other, *_ = _pair()
        _go(range(3), (ours, other))
        adam.restore(other.state())


def test_a_training_does_not_import_pytorch_s_compiler():
    program = (
        "import sys, numpy as np, torch\n"
        "from chimerax.cryotrans.engine.maps.density_map import DensityMap\n"
        "from chimerax.cryotrans.engine.maps.preparation import prepare\n"
        "from chimerax.cryotrans.engine.options.training import TrainingOptions\n"
        "from chimerax.cryotrans.engine.training.training import Training\n"
        "from chimerax.cryotrans.engine.flow.velocity import VelocityField\n"
        "density = np.zeros((12, 12, 12), np.float32); density[3:8, 4:8, 4:8] = 1\n"
        "options = TrainingOptions(initial_level=0.5, target_level=0.5, n_steps=2, period=1)\n"
        "one = DensityMap(density, (1.0, 1.0, 1.0)); other = DensityMap(np.roll(density, 1, 0), (1.0, 1.0, 1.0))\n"
        "training = Training(prepare(one, other, 0.5, 0.5), options, VelocityField(3, 8), torch.device('cpu'))\n"
        "training.evaluate(); training.update(); training.evaluate()\n"
        "assert training.losses[1] < training.losses[0]\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout.strip() == "False", done.stderr
