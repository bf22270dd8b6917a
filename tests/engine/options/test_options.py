"""The tables of options: bounds and their words, names in texts, and that every front end is made from them."""

from __future__ import annotations

import dataclasses
import re

import pytest

from chimerax.cryotrans.engine.errors import InputError, named, worded
from chimerax.cryotrans.engine.options.option import command_line, option, options_of
from chimerax.cryotrans.engine.options.prediction import PREDICTION, PredictionOptions
from chimerax.cryotrans.engine.options.training import TRAINING, TrainingOptions, check_together, training_options
from chimerax.cryotrans.programs.arguments import (
    flag_in,
    prediction_parser,
    training_parser,
    with_numbers_joined,
)

LEVELS = {"initial_level": 0.1, "target_level": 0.2}


@dataclasses.dataclass(frozen=True)
class _Table:
    share: float = option(0.5, float, "-s", "--share", spoken="share", above=0, most=1, keyword="share_of_all")
    count: int = option(3, int, "--count", spoken="count", least=2, most=9)
    many: int = option(1, int, "--many", spoken="many", least=1, most=1e8, several=True)
    word: str = option("a", str, "--word", spoken="word", choices=("a", "b"))
    length: float = option(1.0, float, "--length", spoken="length", least=0, unit="Å")
    times: object = option(None, "times", "--times")
    free: float = option(0.0, float, "--free")


TABLE = options_of(_Table)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("share", 0, "The share (share) must be above 0 and at most 1, not 0."),
        ("share", 1.5, "The share (share) must be above 0 and at most 1, not 1.5."),
        ("share", float("nan"), "The share (share) must be above 0 and at most 1, not nan."),
        ("count", 1, "The count (count) must be from 2 to 9, not 1."),
        ("many", 0, "The many (many) must be 1 or more, not 0."),
        ("many", 10**9, "The many (many) must be 100000000 or less, not 1000000000."),
        ("word", "c", "The word (word) must be one of a, b, not 'c'."),
        ("length", -1.5, "The length (length) must be 0 Å or more, not -1.5."),
        ("length", float("inf"), "The length (length) must be 0 Å or more, not inf."),
    ],
)
def test_values_out_of_bounds_are_said(name, value, text):
    with pytest.raises(InputError) as raised:
        TABLE[name].check(name, value)
    assert str(raised.value) == text


@pytest.mark.parametrize(("name", "value"), [("share", 1), ("count", 9), ("word", "b"), ("count", None), ("free", -3)])
def test_values_within_bounds_pass(name, value):
    TABLE[name].check(name, value)


def test_an_option_is_said_as_each_front_end_types_it():
    with pytest.raises(InputError) as raised:
        TrainingOptions(**LEVELS, n_steps=1, period=1, learning_rate=0.0)
    assert str(raised.value) == "The learning rate (learning_rate) must be above 0, not 0."
    assert worded(raised.value.marked, flag_in(TRAINING)) == "The learning rate (--lr) must be above 0, not 0."
    path = "/x/--lr -b learning_rate.mrc"  # names of files are left alone
    assert worded(f"{path}: {named('learning_rate')}", flag_in(TRAINING)) == f"{path}: --lr"


def test_keywords_are_typed_as_chimerax_has_them():
    assert TABLE["share"].typed_keyword == "shareOfAll"
    assert TABLE["count"].typed_keyword is None


def test_command_line():
    values = {"share": 1e-05, "count": None, "many": [1, 2], "times": [0, 0.25], "word": "a b"}
    assert command_line(values, TABLE) == [
        "-s",
        "1e-05",
        "--many",
        "1",
        "--many",
        "2",
        "--times",
        "0,0.25",
        "--word",
        "a b",
    ]
    assert command_line({"l2": True, "resume": False, "n_steps": 3}, TRAINING) == ["--l2", "-n", "3"]


def test_what_is_typed_arrives_under_the_names_of_the_options():
    words = ["-i0", "a", "-t0", "-1e-3", "-i1", "b", "-t1", "-.5", "-d", "c", "-n", "3", "--w2_eps", "1e-3", "--l2"]
    said = vars(training_parser().parse_args(with_numbers_joined(words, TRAINING)))
    assert said == {
        "initial_map": "a",
        "initial_level": -1e-3,
        "target_map": ["b"],
        "target_level": [-0.5],
        "directory": "c",
        "n_steps": 3,
        "epsilon": 1e-3,
        "l2": True,
        "device": "auto",
        "gpu": None,
        "progress": "auto",
        "stop_with_input": False,
    }


@pytest.mark.parametrize(("make_parser", "table"), [(training_parser, TRAINING), (prediction_parser, PREDICTION)])
def test_every_option_has_its_flags_and_its_help(make_parser, table):
    actions = {action.dest: action for action in make_parser()._actions}
    assert set(table) <= set(actions)
    for name, about in table.items():
        assert tuple(actions[name].option_strings) == about.flags and actions[name].help == about.help
        assert re.search(r"\w", about.help)


def test_no_two_options_share_a_flag_or_a_keyword():
    for table in (TRAINING, PREDICTION):
        flags = [flag for about in table.values() for flag in about.flags]
        keywords = [about.keyword for about in table.values() if about.keyword]
        assert len(flags) == len(set(flags)) and len(keywords) == len(set(keywords))


def test_a_value_that_is_missing_is_no_users_fault():
    with pytest.raises(TypeError, match="depth"):
        TrainingOptions(**LEVELS, n_steps=1, period=1, depth=None)
    with pytest.raises(InputError, match=r"number of frames \(frames\) must be from 2 to 10000, not 1"):
        PredictionOptions(initial_map="a", directory="b", frames=1)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"n_steps": 5, "period": 2}, {"recipe": "cryotrans", "flow": "network", "symmetry": None}),
        ({"n_steps": 5, "period": 2, "flow": "domains"}, {"n_domains": 16}),
        ({"n_steps": 5, "period": 2, "l2": True}, {"loss": "l2"}),
        ({"recipe": "auto"}, {"n_steps": None, "period": 100, "flow": "auto", "symmetry": "auto"}),
        ({"recipe": "auto", "symmetry": "C3", "period": 7}, {"symmetry": "C3", "period": 7}),
    ],
)
def test_defaults_depend_on_the_recipe(said, wanted):
    options = training_options({**LEVELS, **said, "directory": "of the call, not of the training"}).to_dict()
    assert wanted.items() <= options.items()


@pytest.mark.parametrize("name", [name for name, about in TRAINING.items() if about.by_hand])
def test_recipe_auto_chooses_itself(name):
    with pytest.raises(InputError, match=f"recipe auto chooses {name} itself"):
        check_together({"recipe": "auto", name: 1})
