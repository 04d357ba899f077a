"""What the settings panel may send, and what it may not."""

from __future__ import annotations

import pytest

from chat_ui.decoding import STRATEGIES, describe, with_strategy
from chat_ui.settings import AS_TRAINED, MODES, NOTHING, Settings, from_panel
from utils.errors import UserError


def test_sliders_send_floats_and_fields_send_strings():
    got = from_panel(
        {
            "model": "last",
            "mode": "continue",
            "temperature": 1,
            "top_k": 40.0,
            "top_p": 0.9,
            "max_new_tokens": 64.0,
            "seed": " 12 ",
            "system": "short",
        }
    )
    assert got == Settings("last", "continue", 1.0, 40, 0.9, 64, 12, "short")
    assert type(got.top_k) is int and type(got.max_new_tokens) is int


def test_what_is_missing_or_empty_has_its_default():
    assert from_panel({}) == Settings()
    assert from_panel({"seed": "", "system": None, "temperature": None}) == Settings()


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_may_come_as_its_name_or_as_its_sentence(mode):
    assert from_panel({"mode": mode}).mode == from_panel({"mode": MODES[mode]}).mode == mode


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"temperature": -1}, r"temperature is -1: give a number from 0 to 10"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1e30}, "temperature is 1e"),
        ({"top_k": -3}, "top_k is -3"),
        ({"top_k": 2.5}, "whole number"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": "many"}, "max_new_tokens is 'many'"),
        ({"max_new_tokens": float("inf")}, "max_new_tokens is inf"),
        ({"seed": "-1"}, "seed is '-1'"),
        ({"seed": "abc"}, "seed is 'abc'"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"seed": float("nan")}, "seed is nan"),
        ({"min_p": 1.5}, "min_p is 1.5"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"presence_penalty": 1e9}, "presence_penalty is 1000000000.0"),
        ({"frequency_penalty": "often"}, "frequency_penalty is 'often'"),
        ({"temperature": 10**400}, "temperature is 1000"),
        ({"template": "sonnet"}, "template is 'sonnet': choose one of as trained, alpaca"),
        ({"beside": "worse"}, "beside is 'worse': choose one of nothing, greedy"),
        ({"mode": "sing"}, "mode is 'sing': choose one of chat, continue"),
    ],
)
def test_a_value_out_of_bounds_is_one_line_with_the_limit(values, says):
    with pytest.raises(UserError, match=says) as caught:
        from_panel(values)
    assert "\n" not in str(caught.value)


def test_the_new_knobs_reach_the_engine():
    got = from_panel(
        {
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "top_k": 0,
        }
    )
    sampling = got.sampling(7)
    assert (sampling.min_p, sampling.repetition_penalty, sampling.seed) == (0.1, 1.2, 7)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -0.5)
    assert sampling.top_k is None and Settings(top_p=1, min_p=0).sampling(1).min_p is None
    assert (got.template, got.beside) == (AS_TRAINED, NOTHING)


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_strategy_changes_how_is_drawn_and_nothing_else(name):
    own = Settings(seed=3, system="s", max_new_tokens=9, model="m", repetition_penalty=1.7, top_k=3)
    other = with_strategy(own, name)
    assert (other.seed, other.system, other.max_new_tokens, other.model) == (3, "s", 9, "m")
    assert describe(other) != describe(own)
    assert other.sampling(3).top_k != 3


def test_strategies_differ_from_each_other():
    said = [describe(with_strategy(Settings(), name)) for name in STRATEGIES]
    assert len(set(said)) == len(said)
