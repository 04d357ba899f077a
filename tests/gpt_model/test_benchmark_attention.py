"""A whole model's decode step for every variant: the plumbing, on a model of one thin layer."""

import json

from attention_mechanisms import benchmark_harness
from gpt_model import benchmark_attention
from utils.cli import run_main

TINY = ["n_layer=1", "n_head=2", "n_embd=16", "vocab_size=20", "contexts=[8,24]", "n_kv_head=1", "window=4"]
TINY += ["kv_latent_dim=6", "rope_dim=2", "rounds=1"]


def test_it_measures_every_variant_at_every_context(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_harness.race, "__kwdefaults__", {"rounds": 1, "target_seconds": 0.0})
    monkeypatch.setattr(benchmark_harness.bandwidth, "__kwdefaults__", {"nbytes": 2**14, "rounds": 1})
    out = tmp_path / "decode.json"
    assert run_main(benchmark_attention.main, [*TINY, f"out={out}"]) == 0
    own = json.loads(out.read_text())["figures"]["bf16"]
    assert set(own["contexts"]) == {"8", "24"} and set(own["exponents"]) == {"mha", "gqa", "mla", "swa"}
    rows = own["contexts"]["24"]["candidates"]
    assert rows["mha"]["cache_bytes"] == 2 * 24 * 16 * 2 and rows["gqa"]["cache_bytes"] == 24 * 16 * 2
    assert rows["mla"]["cache_bytes"] == 24 * 8 * 2 and rows["swa"]["cache_bytes"] == 2 * 4 * 16 * 2
    assert rows["mha"]["bytes_read"] == rows["mha"]["cache_bytes"] + rows["mha"]["weight_bytes"]
    assert "tokens/s" in capsys.readouterr().out


def test_bad_settings_end_with_one_line(capsys):
    for words, message in (
        (["contexts=[]"], "contexts"),
        (["dtypes=[int8]"], "dtypes"),
        (["rounds=0"], "rounds is 0"),
    ):
        assert run_main(benchmark_attention.main, words) == 2
        assert message in capsys.readouterr().err
