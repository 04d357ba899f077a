"""Edges of the analysis: windows, padding, half precision, bad input, and a head that really learnt induction."""

import analysis_checks as laws
import pytest
import torch

from attention_mechanisms import analysis
from attention_mechanisms.masks import window_mask
from utils.errors import UserError


def test_an_even_head_in_a_window_is_broad_when_the_window_is_known():
    allowed = window_mask(20, 20, 6)
    maps = (allowed.float() / allowed.sum(-1, keepdim=True))[None, None]
    known, unknown = (analysis.summarise(maps, list(range(20)), allowed=a)[0] for a in (allowed, None))
    assert known.spread == pytest.approx(1) and known.pattern == "broad"
    assert unknown.spread < 0.9 and unknown.pattern == "local"


def test_rows_of_padding_count_nowhere():
    maps = laws.random_maps((1, 1, 8))
    maps[:, :, :3, :] = 0.0
    maps[:, :, :, :3] = 0.0
    maps = maps / maps.sum(-1, keepdim=True).clamp(min=1e-12)
    inner = maps[:, :, 3:, 3:]
    for score in (analysis.mean_distance, analysis.previous_token_score):
        assert torch.isfinite(score(maps)).all()
    torch.testing.assert_close(analysis.mean_distance(maps), analysis.mean_distance(inner))


def test_half_precision_maps_are_read_in_full():
    maps = laws.random_maps().bfloat16()
    assert analysis.check_maps(maps).dtype == torch.float64
    assert len(analysis.summarise(maps, laws.WORDS)) == 6


def test_one_token_has_numbers_too():
    (head,) = analysis.summarise(torch.ones(1, 1, 1, 1), ["a"])
    assert (head.entropy, head.distance, head.previous, head.positional) == (0, 0, 0, 0)
    assert head.pattern in analysis.PATTERNS
    assert analysis.top_links(torch.ones(1, 1, 1, 1), ["a"]) == []


def test_a_text_without_repeats_never_names_induction():
    maps = torch.eye(6)[[0, 0, 0, 0, 0, 3]][None, None]
    numbers = vars(analysis.summarise(maps, ["a", "b", "c", "d", "e", "f"])[0])
    assert numbers["induction"] == 0
    assert analysis.pattern_of({**numbers, "first": 0.0, "induction": 0.9}, induction_rows=3) != "induction"
    assert analysis.pattern_of({**numbers, "first": 0.0, "induction": 0.9}) == "induction"


def test_links_leave_out_what_they_are_told_to():
    maps = torch.eye(4)[None, None].clone()
    words = list("abcd")
    assert [link.query for link in analysis.top_links(maps, words)] == [1, 2, 3]
    assert analysis.top_links(maps, words, other_tokens_only=True) == []
    assert [link.key for link in analysis.top_links(maps, words, query=0)] == [0]


@pytest.mark.parametrize(
    ("maps", "word"),
    [
        (torch.ones(2, 3), "queries down"),
        (torch.full((2, 2), float("nan")), "NaN"),
        (torch.tensor([[1.0, 0.0], [-0.5, 1.5]]), "negative"),
        (torch.tensor([[0.5, 0.5], [0.5, 0.5]]), "future"),
        (torch.tensor([[1.0, 0.0], [0.5, 0.4]]), "summing to 1"),
    ],
)
def test_what_is_no_map_is_refused_in_one_line(maps, word):
    with pytest.raises(UserError, match=word) as caught:
        analysis.check_maps(maps)
    assert "\n" not in str(caught.value)


def test_wrong_questions_are_refused():
    maps = laws.random_maps()
    with pytest.raises(UserError, match="3 tokens came with maps of 9"):
        analysis.induction_score(maps, ["a", "b", "c"])
    with pytest.raises(UserError, match="layer is 2"):
        analysis.top_links(maps, laws.WORDS, layer=2)
    with pytest.raises(UserError, match="layers, heads"):
        analysis.top_links(maps[0], laws.WORDS)
    with pytest.raises(UserError, match="layers, heads"):
        analysis.summarise(maps[0], laws.WORDS)
    with pytest.raises(UserError, match="repeated_tokens"):
        analysis.repeated_tokens(5, 6)
