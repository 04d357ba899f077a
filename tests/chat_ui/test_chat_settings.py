"""What the settings panel may send, and what it may not."""

from __future__ import annotations

import pytest

from chat_ui.settings import MODES, Settings, from_panel
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
        ({"mode": "sing"}, "mode is 'sing': choose one of chat, continue"),
    ],
)
def test_a_value_out_of_bounds_is_one_line_with_the_limit(values, says):
    with pytest.raises(UserError, match=says) as caught:
        from_panel(values)
    assert "\n" not in str(caught.value)
