"""The benchmark's plumbing on tiny shapes: nothing unequal is timed, and every figure finds its place.

What it measures is kept as JSON and never asserted.
"""

import json
import math

import pytest
import torch

from attention_mechanisms import (
    benchmark,
    benchmark_harness,
    benchmark_kernels,
    benchmark_layers,
    benchmark_plot,
)
from attention_mechanisms.attention import attend
from attention_mechanisms.benchmark_harness import check_equal, exponent, race, rotate, times_faster
from attention_mechanisms.shape import AttentionShape
from utils.cli import run_main
from utils.errors import RunFailure, UserError

CPU = torch.device("cpu")
SMALL = AttentionShape(n_layer=1, n_head=4, n_embd=32, kv_latent_dim=6, rope_dim=4)
WORDS = [
    *("rounds=1", "contexts=[9,40]", "window=8", "n_head=4", "head_dim=8", "n_kv_head=2", "kv_latent_dim=6"),
    *("rope_dim=4", "max_table=40", "train_shape=[1,2,20,8]", "flex=false", "threads=1"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One call a batch, and buffers of kilobytes."""
    monkeypatch.setattr(benchmark_harness, "TARGET_SECONDS", 0.0)
    monkeypatch.setattr(benchmark_harness.race, "__kwdefaults__", {"rounds": 1, "target_seconds": 0.0})
    monkeypatch.setattr(benchmark_harness.bandwidth, "__kwdefaults__", {"nbytes": 2**14, "rounds": 1})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_whole_command_writes_every_part_and_two_plots(tmp_path, capsys):
    out = tmp_path / "kernels.json"
    assert run_main(benchmark.main, [*WORDS, f"out={out}"]) == 0
    result = json.loads(out.read_text())
    figures = result["figures"]
    assert {"decode", "prefill", "train", "goals", "bandwidth", "seconds"} <= figures.keys()
    decode = figures["decode"]["kernel"]["bf16"]["40"]
    assert set(decode["candidates"]) == {
        *("mha", "mha_sdpa", "gqa", "gqa_sdpa", "gqa_repeat", "mla", "mla_naive", "swa", "swa_masked")
    }
    assert decode["candidates"]["gqa"]["bytes_read"] * 2 == decode["candidates"]["mha"]["bytes_read"]
    assert all(row["difference"] <= 2**-5 for row in decode["candidates"].values())
    layer = figures["decode"]["layer"]["fp32"]["40"]["candidates"]
    assert (
        layer["swa"]["cache_bytes"] == 2 * 4 * 8 * 8 * 4
        and layer["swa_masked"]["cache_bytes"] == 2 * 40 * 32 * 4
    )
    assert "masked_sdpa" in figures["prefill"]["kernel"]["fp32"]["40"]["candidates"]
    assert "peak_bytes" in figures["prefill"]["layer"]["fp32"]["40"]["candidates"]["mla"]
    assert {row["goal"] for row in figures["goals"]} == {*benchmark.GOALS, *benchmark.MOST}
    assert "contexts=[9,40]" in result["command"] and "out=" not in result["command"]
    assert figures["gpu"] is None, "without a GPU its rows are not measured"
    printed = capsys.readouterr().out
    assert "GB/s" in printed and "GFLOP/s" in printed and "of memory" in printed
    for name in ("attention_decode.svg", "attention_prefill.svg"):
        assert (tmp_path / name).read_text().startswith("<svg")


def test_a_part_can_be_measured_alone(tmp_path):
    out = tmp_path / "train.json"
    assert run_main(benchmark.main, [*WORDS, "parts=[train]", "dtypes=[fp32]", f"out={out}"]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert "decode" not in figures and set(figures["train"]["kernel"]) == {"fp32"}
    assert [row["goal"] for row in figures["goals"]] == ["train auto_over_sdpa"]


@pytest.mark.parametrize("part", ["decode", "prefill", "train"])
def test_a_fast_path_that_is_wrong_is_not_timed(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_kernels, "attend", wrong_where_it_is_fast)
    out = tmp_path / "x.json"
    words = [*WORDS, f"parts=[{part}]", "levels=[kernel]", f"out={out}"]
    assert run_main(benchmark.main, words) == 1
    assert "nothing was timed" in capsys.readouterr().err and not out.exists()


def wrong_where_it_is_fast(q, k, v, *rest, backend="manual", **options):
    right = attend(q, k, v, *rest, backend="manual", **options)
    return 1.2 * right if backend == "auto" else right


def test_a_layer_whose_ring_is_off_by_one_is_not_timed(monkeypatch):
    from attention_mechanisms.rolling_cache import RollingLayerCache

    real = RollingLayerCache.slot_of
    monkeypatch.setattr(RollingLayerCache, "slot_of", lambda self, p: (real(self, p) + 1) % self.slots)
    monkeypatch.setattr(RollingLayerCache, "append", keeps_the_oldest)
    with pytest.raises(RunFailure, match="swa"):
        benchmark_layers.measure_layer_decode(SMALL, 40, torch.float32, CPU, n_kv_head=2, window=8, rounds=1)


def keeps_the_oldest(self, k, v):
    """A ring that reads one slot too few."""
    slot = self.slot_of(torch.tensor([self.length]))
    self.k.write_slots(slot, k)
    self.v.write_slots(slot, v)
    return self.k.read(1, self.slots - 1, k.dtype), self.v.read(1, self.slots - 1, v.dtype)


def test_nan_is_not_equal_to_anything():
    with pytest.raises(RunFailure, match="differs from the reference"):
        check_equal({"mine": torch.full((3,), math.nan)}, torch.ones(3), "case")


def test_a_masked_twin_sees_the_same_tokens_as_the_ring():
    shape = AttentionShape(n_layer=1, n_head=2, n_embd=8, window=5)
    layer = benchmark_layers.build("swa", shape, 17, torch.float32, CPU)
    benchmark_layers.fill(layer.cache, 16)
    twin = benchmark_layers.masked_twin(layer, shape, 17)
    x = torch.randn(1, 1, 8)
    with torch.inference_mode():
        assert torch.allclose(layer(x), twin(x), atol=1e-6)
    assert twin.cache.nbytes > 3 * layer.cache.nbytes


def test_exponents_ratios_and_rotation_are_arithmetic():
    assert exponent({10: 2.0, 100: 200.0}) == pytest.approx(2.0)
    assert exponent({10: 5.0, 100: 5.0, 1000: 5.0}) == pytest.approx(0.0)
    assert math.isnan(exponent({10: 1.0}))
    figures = {"slow": {"seconds": [4.0, 6.0, 9.0]}, "fast": {"seconds": [2.0, 2.0, 3.0]}}
    assert times_faster(figures, "fast", "slow") == {"median": 3.0, "min": 2.0, "max": 3.0}
    copies = rotate(lambda: [torch.ones(4)], nbytes=16, rotate_bytes=40)
    assert len(copies) == 3 and len({c[0].data_ptr() for c in copies}) == 3
    assert len(rotate(lambda: [torch.ones(4)], nbytes=16, rotate_bytes=0)) == 1


def test_rotating_copies_gives_the_same_figures():
    options = {"rounds": 1, "n_kv_head": 2, "window": 8}
    row = benchmark_kernels.measure_decode(SMALL, 40, torch.float32, CPU, rotate_bytes=100_000, **options)
    assert all(r["difference"] < 1e-4 for r in row["candidates"].values())


def test_race_divides_by_the_repeats_and_keeps_every_round():
    calls = []
    timed = race({"a": lambda: calls.append(1)}, rounds=3, target_seconds=0.0)
    assert timed["a"]["repeats"] == 1 and len(timed["a"]["seconds"]) == 3
    assert len(calls) == 1 + 1 + 3, "one to find the repeats, one unmeasured round, three measured"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parts=[speed]"], "parts"),
        (["parts=[]"], "parts"),
        (["dtypes=[fp8]"], "dtypes"),
        (["contexts=[1]"], "contexts"),
        (["rounds=0"], "rounds is 0"),
        (["n_kv_head=5"], "multiple"),
        (["train_shape=[1,2]"], "train_shape"),
    ],
)
def test_bad_settings_end_with_one_line(words, message, capsys):
    assert run_main(benchmark.main, words) == 2
    assert message in capsys.readouterr().err


def test_a_foreign_file_is_not_plotted(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        benchmark_plot.plot_file(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="no figures"):
        benchmark_plot.plot_file(tmp_path / "other.json")
