"""Classic bugs of reading and showing attention, put back one at a time: LA9's checks must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import analysis_checks as laws
import pytest
import torch

from attention_mechanisms import analysis, latent, multi_head, viewer
from gpt_model import trace

Patch = pytest.MonkeyPatch


# Numbers ---------------------------------------------------------------------------------------------


def entropy_in_bits(patch: Patch) -> None:
    real = analysis.entropy
    patch.setattr(analysis, "entropy", lambda maps: real(maps) / math.log(2))


def entropy_over_queries(patch: Patch) -> None:
    patch.setattr(analysis, "entropy", lambda maps: -torch.xlogy(maps, maps).sum(dim=-2))


def induction_one_too_early(patch: Patch) -> None:
    """The earlier copy itself, not what came after it."""
    patch.setattr(analysis, "induction_keys", lambda maps, tokens: analysis._same(maps, tokens).tril(-1))


def induction_one_too_late(patch: Patch) -> None:
    def late(maps: Any, tokens: Any) -> Any:
        keys = torch.zeros(maps.shape[-2:], dtype=torch.bool)
        keys[:, 2:] = analysis._same(maps, tokens)[:, :-2]
        return keys.tril(-1)

    patch.setattr(analysis, "induction_keys", late)


def induction_sees_the_future(patch: Patch) -> None:
    """Copies after the query count rows that have nothing to look at yet."""

    def anywhere(maps: Any, tokens: Any) -> Any:
        keys = torch.zeros(maps.shape[-2:], dtype=torch.bool)
        keys[:, 1:] = analysis._same(maps, tokens)[:, :-1]
        return keys

    patch.setattr(analysis, "induction_keys", anywhere)


def mean_over_all_rows(patch: Patch) -> None:
    patch.setattr(analysis, "_mean_rows", lambda values, counted: (values * counted).mean(-1))


def previous_is_the_token_itself(patch: Patch) -> None:
    patch.setattr(
        analysis, "previous_token_score", lambda maps: maps.diagonal(dim1=-2, dim2=-1)[..., 1:].mean(-1)
    )


def distance_without_sign(patch: Patch) -> None:
    real = analysis.mean_distance
    patch.setattr(analysis, "mean_distance", lambda maps: -real(maps))


def positional_of_the_transposed_map(patch: Patch) -> None:
    real = analysis.positional_score
    patch.setattr(analysis, "positional_score", lambda maps, allowed=None: real(maps.mT.tril(), allowed))


def links_transposed(patch: Patch) -> None:
    real = analysis.top_links

    def swapped(maps: Any, tokens: Any, *args: Any, **fields: Any) -> Any:
        return [
            analysis.Link(i.layer, i.head, i.key, i.query, i.share, i.key_token, i.query_token)
            for i in real(maps, tokens, *args, **fields)
        ]

    patch.setattr(analysis, "top_links", swapped)


def links_of_the_next_row(patch: Patch) -> None:
    real = analysis.top_links

    def wrong(maps: Any, tokens: Any, *args: Any, query: Any = None, **fields: Any) -> Any:
        return real(maps, tokens, *args, query=None if query is None else query + 1, **fields)

    patch.setattr(analysis, "top_links", wrong)


# Pages -----------------------------------------------------------------------------------------------


def page_of_transposed_maps(patch: Patch) -> None:
    """Who looks and who is looked at, swapped on the way into the page."""
    real = viewer.quantise
    patch.setattr(viewer, "quantise", lambda maps: real(maps.flip(-1, -2).mT))


def layers_and_heads_swapped(patch: Patch) -> None:
    real = viewer.quantise
    patch.setattr(viewer, "quantise", lambda maps: real(maps.transpose(0, 1)))


def bytes_cut_off(patch: Patch) -> None:
    def floor(maps: Any) -> bytes:
        rows, columns = torch.tril_indices(maps.size(-1), maps.size(-1))
        return bytes((maps[..., rows, columns] * 255).floor().to(torch.uint8).flatten().tolist())

    patch.setattr(viewer, "quantise", floor)


def bytes_overflow(patch: Patch) -> None:
    def wrap(maps: Any) -> bytes:
        rows, columns = torch.tril_indices(maps.size(-1), maps.size(-1))
        return bytes(((maps[..., rows, columns] * 256).round().long() % 256).flatten().tolist())

    patch.setattr(viewer, "quantise", wrap)


def tokens_unescaped(patch: Patch) -> None:
    patch.setattr(viewer, "_json_in_html", json.dumps)


def title_unescaped(patch: Patch) -> None:
    patch.setattr(viewer.html, "escape", lambda text, quote=True: text)


# Models ----------------------------------------------------------------------------------------------


def maps_of_the_wrong_axis(patch: Patch) -> None:
    """Softmax over the queries: columns sum to one."""

    def wrong(*args: Any, real: Any = multi_head.attention_weights, **fields: Any) -> Any:
        shares = real(*args, **fields)
        return shares / shares.sum(dim=-2, keepdim=True).clamp(min=1e-9)

    patch.setattr(multi_head, "attention_weights", wrong)
    patch.setattr(latent, "attention_weights", wrong)


def maps_of_the_layer_before(patch: Patch) -> None:
    real = trace.attention_maps
    patch.setattr(trace, "attention_maps", lambda model, ids: real(model, ids).roll(1, 0))


def neighbour_ablated(patch: Patch) -> None:
    real = trace._replace
    patch.setattr(trace, "_replace", lambda heads, n, put: real([(h + 1) % n for h in heads], n, put))


def heads_taken_as_interleaved(patch: Patch) -> None:
    def hooks(heads: Any, n_head: int, put: Any) -> Any:
        def hook(module: Any, inputs: Any) -> Any:
            x = inputs[0].unflatten(-1, (-1, n_head)).clone()
            x[..., heads] = 0.0
            return (x.flatten(-2),)

        return hook

    patch.setattr(trace, "_replace", hooks)


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (entropy_in_bits, laws.check_entropy, "nats"),
    (entropy_over_queries, laws.check_entropy, "a row"),
    (induction_one_too_early, laws.check_scores, "induction"),
    (induction_one_too_early, laws.check_perfect_heads, "induction"),
    (induction_one_too_late, laws.check_scores, "induction"),
    (induction_one_too_late, laws.check_perfect_heads, "induction"),
    (induction_sees_the_future, laws.check_scores, "induction"),
    (mean_over_all_rows, laws.check_scores, "score of head"),
    (previous_is_the_token_itself, laws.check_scores, "previous token"),
    (distance_without_sign, laws.check_scores, "mean distance"),
    (positional_of_the_transposed_map, laws.check_positional_score, "variance"),
    (links_transposed, laws.check_top_links, "looking at"),
    (links_of_the_next_row, laws.check_top_links, "looks most at"),
    (page_of_transposed_maps, laws.check_page_shows_the_maps, "in its place"),
    (layers_and_heads_swapped, laws.check_page_shows_the_maps, "in its place"),
    (bytes_cut_off, laws.check_page_shows_the_maps, "rounded"),
    (bytes_overflow, laws.check_page_shows_the_maps, "rounded"),
    (tokens_unescaped, laws.check_page_is_inert, "became an element"),
    (title_unescaped, laws.check_page_is_inert, "became an element"),
    (maps_of_the_wrong_axis, lambda: laws.check_maps_of_a_model("mha"), "sum to 1"),
    (maps_of_the_wrong_axis, lambda: laws.check_maps_of_a_model("mla"), "sum to 1"),
    (maps_of_the_layer_before, lambda: laws.check_maps_of_a_model("gqa"), "not the one that was used"),
    (neighbour_ablated, lambda: laws.check_ablation("mha"), "not what was taken away"),
    (heads_taken_as_interleaved, lambda: laws.check_ablation("gqa"), "not what was taken away"),
]


@pytest.mark.parametrize(
    ("bug", "check", "word"), BUGS, ids=[f"{i}-{bug.__name__}" for i, (bug, _, _) in enumerate(BUGS)]
)
def test_the_law_catches_the_bug(bug, check, word, monkeypatch):
    check()
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check()


def test_transposed_maps_are_refused_before_anything_is_shown():
    from utils.errors import UserError

    with pytest.raises(UserError, match="transposed"):
        viewer.attention_viewer(laws.random_maps().mT, laws.WORDS)
