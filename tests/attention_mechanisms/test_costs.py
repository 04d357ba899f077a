"""The calculator's edges: crossovers against a plain search, bad input, and the command."""

import random

import pytest
import torch
from cost_checks import random_shape

from attention_mechanisms import AttentionShape, costs, crossovers
from attention_mechanisms.costs import CostsConfig, all_variants, attention_flops, cache_bytes, cost_table
from utils.cli import run_main
from utils.errors import UserError


@pytest.mark.parametrize("seed", range(30))
def test_ranges_of_a_lower_cost_are_those_of_a_search_over_every_context(seed):
    rng = random.Random(seed)
    shape = random_shape(rng, "swa", n_layer=3)
    other = rng.choice(["mha", "gqa", "mla"])
    second = random_shape(rng, other, n_layer=3, n_head=shape.n_head, n_embd=shape.n_embd)
    kind = rng.choice(crossovers.KINDS)
    limit = 120
    first_cost = crossovers.decode_cost(kind, "swa", shape, torch.bfloat16)
    second_cost = crossovers.decode_cost(kind, other, second, torch.bfloat16)
    found = crossovers.where_less(first_cost, second_cost, bends=crossovers.bends("swa", shape), limit=limit)
    inside = {n for low, high in found for n in range(low, high + 1)}
    assert inside == {n for n in range(1, limit + 1) if first_cost(n) < second_cost(n)}
    assert all(low <= high for low, high in found)


@pytest.mark.parametrize("latent", [8, 64, 200])
@pytest.mark.parametrize("past", [0, 1, 50, 1000])
def test_the_number_of_tokens_for_which_naive_pays_is_the_first_of_a_search(latent, past):
    shape = AttentionShape(n_layer=1, n_head=4, n_embd=128, kv_latent_dim=latent, rope_dim=8)
    expected = next(
        (
            new
            for new in range(1, 400)
            if attention_flops("mla", shape, new, past, path="naive").total
            <= attention_flops("mla", shape, new, past, path="absorbed").total
        ),
        None,
    )
    assert crossovers.naive_from(shape, past, limit=399) == expected


def test_auto_is_the_path_that_the_module_takes():
    from attention_mechanisms.latent import LatentAttention

    shape = AttentionShape(n_layer=1, n_head=4, n_embd=64, kv_latent_dim=40, rope_dim=4)
    module = LatentAttention(shape)
    for new, past in [(1, 0), (1, 100), (9, 30), (40, 5), (200, 0)]:
        chosen = module.choose_path(new, past + new)
        assert attention_flops("mla", shape, new, past) == attention_flops(
            "mla", shape, new, past, path=chosen
        )


def test_a_window_pays_once_it_is_full_and_a_latent_in_bytes_but_not_in_multiplications():
    found = crossovers.decode_crossovers(all_variants(CostsConfig(window=100)), torch.bfloat16)
    end = crossovers.LIMIT
    assert found["swa"] == {kind: [(101, end)] for kind in crossovers.KINDS}
    assert found["mla"]["cache"] == [(1, end)]
    assert found["mla"]["flops"][-1][1] < 1000, "2 · latent + rope is more than 2 · head_dim for each key"


def test_the_table_has_every_variant_and_its_share():
    rows = cost_table(CostsConfig(), 1024, torch.bfloat16)
    assert list(rows) == ["mha", "gqa-4", "mqa", "mla", "swa"]
    shares = [row["share_of_mha"] for row in rows.values()]
    assert shares == [1, 1 / 3, 1 / 12, 0.1875, 0.25]
    assert rows["swa"]["bytes_of_next_token"] == 0 and rows["mha"]["bytes_of_next_token"] == 36_864


def test_a_batch_multiplies_cache_and_flops_but_not_weights():
    shape = AttentionShape()
    assert cache_bytes("mha", shape, 9, batch=3) == 3 * cache_bytes("mha", shape, 9)
    assert attention_flops("mla", shape, 4, 5, batch=3).total == 3 * attention_flops("mla", shape, 4, 5).total
    weights = 4 * costs.weight_count("mha", shape)
    one, three = (costs.step_bytes("mha", shape, 9, batch=b) for b in (1, 3))
    assert three - weights == 3 * (one - weights)


def test_a_model_configuration_may_stand_where_a_shape_is_asked_for():
    from gpt_model import preset

    for name in costs.KNOWN:
        config = preset("debug", attention=name)
        assert cache_bytes(name, config, 20) == preset_cache_bytes(config)


def preset_cache_bytes(config):
    from gpt_model import GPT

    return GPT(config).new_cache(1, 20).nbytes


def test_an_unknown_variant_and_impossible_sizes_are_one_clear_line():
    shape = AttentionShape()
    with pytest.raises(UserError, match="attention is 'flash': choose one of mha"):
        cache_bytes("flash", shape, 4)
    with pytest.raises(UserError, match="at least 1, not 1 and 0"):
        cache_bytes("mha", shape, 0)
    with pytest.raises(UserError, match="there must be a new token"):
        attention_flops("mha", shape, 0)
    with pytest.raises(UserError, match="path is 'fast'"):
        attention_flops("mla", shape, 1, path="fast")
    with pytest.raises(UserError, match="must be a multiple"):
        cache_bytes("gqa", AttentionShape(n_kv_head=5), 4)


def test_a_variant_without_a_formula_says_so(monkeypatch):
    monkeypatch.setitem(costs.ATTENTIONS, "new", costs.ATTENTIONS["mha"])
    with pytest.raises(UserError, match="no formula for attention 'new'"):
        cache_bytes("new", AttentionShape(), 4)


def test_the_command_prints_the_table(capsys):
    words = ["n_layer=12", "n_head=12", "n_embd=768", "context=1024", "dtype=bf16"]
    assert run_main(costs.main, words) == 0
    out = capsys.readouterr().out
    for expected in ("36,864", "12,288", "3,072", "6,912", "0.1875", "36,864, then 0", "from 257"):
        assert expected in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dtype=fp64"], "dtype is 'fp64'"),
        (["n_head=7"], "7 heads"),
        (["context=0"], "context is 0"),
        (["n_kv_head=5"], "must be a multiple"),
        (["n_kv_head=0"], "n_kv_head is 0"),
        (["layers=3"], "layers"),
        (["window=0"], "window is 0"),
        (["rope_dim=3"], "rope_dim is 3"),
    ],
)
def test_bad_settings_end_with_one_line(words, message, capsys):
    assert run_main(costs.main, words) == 2
    assert message in capsys.readouterr().err
