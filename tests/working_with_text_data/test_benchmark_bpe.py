"""The BPE benchmark: every part on small settings, its refusal to time what is not equal, its tables and plots."""

import json
from types import SimpleNamespace

import pytest

from utils.errors import RunFailure, ScratchbookError, UserError
from working_with_text_data import (
    benchmark,
    benchmark_encoding,
    benchmark_peers,
    benchmark_plot,
    benchmark_training,
    train_bpe,
)
from working_with_text_data.benchmark_peers import TRAINERS, Corpus, Feed, Ours, installed

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 3 + "Ünïcödé wörds, 東京 and more words\n\n  x"
SMALL = ["vocab_sizes=[280]", "rounds=2", "readable_vocab_size=270"]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(TEXT.encode())
    return Corpus("a text", TEXT, path)


def test_the_benchmark_checks_then_measures_then_writes(tmp_path, corpus, capsys):
    out = tmp_path / "bpe.json"
    words = [f"inputs=[{corpus.path}]", f"readable_input={corpus.path}", *SMALL, f"out={out}"]
    assert benchmark.main(words) == 0
    result = json.loads(out.read_text())
    assert {"figures", "hardware", "versions", "command", "notes"} <= result.keys()
    figures = result["figures"]
    (own,) = figures["corpora"].values()
    assert own["bytes"] == len(TEXT.encode()) and own["ascii"] is False
    trained = own["training"]["280"]
    assert trained["reached"] == 280
    assert len(trained["candidates"]["ours"]["seconds"]) == 2
    assert set(own["encoding"]["our merges"]["candidates"]) >= {"ours, cold", "ours, warm"}
    assert own["encoding"]["our merges"]["decoding"]["candidates"]["ours"]["tokens_per_second"] > 0
    assert own["memory"]["above_reading_bytes"]["ours"] > 0
    assert figures["readable"]["reached"] == 270 and figures["readable"]["times_faster"] > 0
    assert figures["training"] == own["training"], "the short names of the README's sentences"
    printed = capsys.readouterr().out
    for said in ("training on", "peak memory", "our merges", "readable trainer", "quiet machine", str(out)):
        assert said in printed, f"the benchmark does not say {said!r}"
    assert {path.name for path in tmp_path.glob("*.svg")} >= {"bpe_training.svg"}


@pytest.mark.parametrize("part", benchmark.PARTS)
def test_each_part_alone(part, tmp_path, corpus):
    out = tmp_path / "bpe.json"
    words = [f"inputs=[{corpus.path}]", f"readable_input={corpus.path}", *SMALL, f"parts=[{part}]"]
    assert benchmark.main([*words, f"out={out}"]) == 0
    figures = json.loads(out.read_text())["figures"]
    (own,) = figures["corpora"].values()
    measured = {name for name in ("training", "memory", "encoding") if own.get(name)}
    assert measured | ({"readable"} & figures.keys()) == {part}


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)
def test_every_trainer_learns_what_ours_learns_however_it_is_fed(trainer, corpus):
    if not installed(trainer.package):
        pytest.skip(f"{trainer.package} is not installed")
    for feed in trainer.feeds(corpus).values():
        first = benchmark_training._check_and_time(trainer, corpus, feed, 290)
        assert first["seconds"] > 0 and first["equal"] is (None if trainer.tie_break is None else True)
        if first["equal"] is None:
            assert 0 < first["shared_tokens"] <= 1


class Liar(Ours):
    """A trainer that says it breaks ties like ours and learns something else."""

    name, package = "liar", "json"

    def feeds(self, corpus):
        return {"one string": Feed(lambda size: train_bpe(corpus.text[::-1], size), True)}


def test_other_merges_stop_the_timing(monkeypatch, corpus):
    monkeypatch.setattr(benchmark_training, "compare", lambda *args, **kwargs: pytest.fail("it was timed"))
    with pytest.raises(RunFailure, match=r"liar learned other tokens.*nothing is timed") as failure:
        benchmark_training.measure_training(corpus, 280, 1, [Ours(), Liar()])
    assert "\n" not in str(failure.value)


def test_fewer_merges_stop_the_timing_too(corpus):
    class Short(Liar):
        def feeds(self, corpus):
            return {"one string": Feed(lambda size: train_bpe(corpus.text, size - 1), True)}

    with pytest.raises(RunFailure, match="merge 23 of 23 and 24"):
        benchmark_training.measure_training(corpus, 280, 1, [Ours(), Short()])


@pytest.mark.parametrize("wrong", ["ids", "text"])
def test_other_ids_or_another_text_stop_the_timing(monkeypatch, corpus, wrong):
    tokenizer = train_bpe(TEXT, 280)
    encode = tokenizer.encode_ordinary if wrong == "text" else lambda text: [0]
    decode = tokenizer.decode if wrong == "ids" else lambda ids: "another"
    monkeypatch.setattr(benchmark_encoding, "encoders", lambda *args: {"peer": (encode, decode)})
    monkeypatch.setattr(benchmark_encoding, "compare", lambda *args, **kwargs: pytest.fail("it was timed"))
    with pytest.raises(ScratchbookError, match="nothing is timed"):
        benchmark_encoding.measure_encoding(corpus, tokenizer, 1)


def test_a_readable_trainer_that_differs_stops_the_timing(monkeypatch, corpus):
    monkeypatch.setattr(
        benchmark_training, "train_bpe_readable", lambda text, size: train_bpe("aab " * 9, size)
    )
    with pytest.raises(RunFailure, match="readable"):
        benchmark_training.measure_readable(corpus, 280, 1)


def test_a_peer_is_taken_at_the_best_of_its_settings(monkeypatch, corpus):
    seconds = {"ours": 1.0, "peer, slow": 3.0, "peer, quick": 2.0}

    class Peer(Ours):
        name, package = "peer", "json"

        def feeds(self, corpus):
            feed = Feed(lambda size: train_bpe(corpus.text, size), True)
            return {"slow": feed, "quick": feed}

    def timed(candidates, rounds, warmup):
        rows = {name: {"median_s": seconds[name], "seconds": [seconds[name]]} for name in candidates}
        return {"candidates": rows}

    monkeypatch.setattr(benchmark_training, "compare", timed)
    result = benchmark_training.measure_training(corpus, 280, 1, [Ours(), Peer()])
    peer = result["peers"]["peer"]
    assert peer["best"] == "quick" and peer["times_faster"] == 2.0 and peer["by_round"] == [2.0]


def test_memory_is_that_of_the_training_and_not_of_the_text(tmp_path):
    """A large text of one word takes no memory to train on; many different words do."""
    peaks = {}
    for name, text in {
        "one word": "word " * 400_000,
        "many words": " ".join(f"{n * 7919 % 1_000_003:x}" for n in range(200_000)),
    }.items():
        path = tmp_path / f"{len(name)}.txt"
        path.write_text(text)
        measured = benchmark_training.measure_memory(Corpus(name, text, path), 260, {"ours": "one string"})
        peaks[name] = measured["above_reading_bytes"]["ours"]
    assert peaks["one word"] < 8 * 2**20 < peaks["many words"]


def test_a_process_that_dies_is_named(corpus):
    with pytest.raises(RunFailure, match=r"memory of nobody.*KeyError"):
        benchmark_training.measure_memory(corpus, 280, {"nobody": "one string"})


def test_lines_are_cut_as_files_are_read(tmp_path):
    text = "one\ntwo\u2028still two\r\nthree\x0bx\n\nlast"
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode())
    with open(path, encoding="utf-8", newline="\n") as file:
        assert Corpus("x", text, path).lines == list(file)
    assert Corpus("x", "a\n", path).lines == ["a\n"]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(benchmark_peers, "installed", lambda package: package != "rustbpe")
    lines = benchmark_peers.missing_peers()
    assert "rustbpe is not installed and not measured" in lines
    assert sum("llms-from-scratch" in line for line in lines) == 1


@pytest.mark.parametrize("source", ["import tiktoken", "class BPETokenizerSimple: ..."])
def test_llms_from_scratch_is_looked_at_and_not_guessed(monkeypatch, tmp_path, source):
    file = tmp_path / "ch02.py"
    file.write_text(source)
    package = SimpleNamespace(version="1.0", files=[file])
    monkeypatch.setattr(benchmark_peers.metadata, "distribution", lambda name: package)
    said = benchmark_peers.missing_peers()[-1]
    assert ("installs no BPE" in said) == ("class BPE" not in source)


@pytest.mark.parametrize(
    "bad",
    ["parts=[speed]", "parts=[]", "inputs=[]", "vocab_sizes=[]", "rounds=0", "inputs=[nowhere.txt]", "n=3"],
)
def test_bad_settings_are_one_line(bad, capsys):
    with pytest.raises((UserError, SystemExit)) as failure:
        benchmark.main([bad])
    assert "\n" not in str(failure.value).strip()


def test_the_size_of_a_generated_text_can_be_named(tmp_path):
    corpus = benchmark.load_corpus("storyland:50000", None, tmp_path)
    assert 50_000 <= corpus.n_bytes < 60_000 and corpus.path.read_bytes() == corpus.text.encode()
    assert benchmark.load_corpus("storyland:50000", 20_000, tmp_path).n_bytes <= 20_000


def test_more_rounds_and_more_text_take_longer(corpus):
    few, many = (benchmark.BenchmarkConfig(rounds=rounds) for rounds in (1, 9))
    assert benchmark.estimate_minutes(few, [corpus]) < benchmark.estimate_minutes(many, [corpus])
    without = benchmark.BenchmarkConfig(rounds=1, parts=("encoding",))
    assert benchmark.estimate_minutes(without, [corpus]) < benchmark.estimate_minutes(few, [corpus])


# --- the plots -------------------------------------------------------------------------------------


def results(tmp_path, corpora):
    path = tmp_path / "bpe.json"
    path.write_text(json.dumps({"figures": {"corpora": corpora}}))
    return path


def trained(seconds, ratio):
    rows = {"ours": {"median_s": seconds}, "tokenizers, lines": {"median_s": seconds * ratio}}
    peer = {"best": "lines", "times_faster": ratio, "by_round": [ratio, 2 * ratio]}
    return {"candidates": rows, "reached": 1000, "peers": {"tokenizers": peer}}


def encoded(**ratios):
    return {name + end: value for name, value in ratios.items() for end in ("", "_min", "_max")}


def test_the_plots_show_every_text_and_library(tmp_path):
    corpora = {
        "small 1.0 MB": {
            "bytes": 10**6,
            "training": {"1000": trained(0.1, 2.0), "5000": trained(0.2, 1.5)},
            "encoding": {"gpt2": {"times": {"tiktoken": encoded(cold=0.4, warm=1.3)}}},
        },
        "large 9.0 MB": {"bytes": 9 * 10**6, "training": {"1000": trained(0.9, 0.5)}},
    }
    paths = benchmark_plot.plot_file(results(tmp_path, corpora))
    assert [path.name for path in paths] == ["bpe_training.svg", "bpe_encoding.svg"]
    first, second = (path.read_text() for path in paths)
    for label in ("small 1.0 MB", "large 9.0 MB", "tokenizers", "vocabulary 1,000", "5,000"):
        assert label in first, f"{label!r} is not in the plot of training"
    assert "tiktoken" in second and "warm" in second
    benchmark_plot.plot_file(tmp_path / "bpe.json")
    assert paths[0].read_text() == first, "the same figures give the same bytes"
    tables = json.loads((tmp_path / "bpe.json").read_text())["figures"]["tables"]
    assert (
        "| small 1.0 MB | 1,000 | 0.10 s | 2.00 × (2.00–4.00) | not measured | not measured |"
        in tables["training"]
    )
    assert "5,000 (ends at 1,000)" in tables["training"]
    assert "| small 1.0 MB | gpt2 | 0.40 × (0.40–0.40) | 1.30 ×" in tables["encoding"]
    assert "memory" not in tables


def test_bars_start_at_one_and_end_at_the_ratio():
    import matplotlib.pyplot as plt

    both = {"a": {"1000": trained(0.1, 2.0)}, "b": {"1000": trained(0.1, 0.5)}}
    figure = benchmark_plot.training_figure(both, {"a": 10**6, "b": 10**7})
    left, right = figure.axes
    ends = sorted(bar.get_x() + bar.get_width() for bar in right.patches)
    assert ends == pytest.approx([0.5, 2.0]) and {bar.get_x() for bar in right.patches} == {1}
    low, high = right.get_xlim()
    assert low < 0.5 and high > 2.0, "every bar is seen whole"
    assert left.get_xscale() == left.get_yscale() == "log"
    ours = next(line for line in left.lines if line.get_label() == "ours")
    assert list(ours.get_xdata()) == [10**6, 10**7] and list(ours.get_ydata()) == [0.1, 0.1]
    plt.close(figure)


@pytest.mark.parametrize("content", [None, "", "[]", '{"figures": {}}'])
def test_a_file_without_figures_is_one_line(tmp_path, content):
    path = tmp_path / "bpe.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as failure:
        benchmark_plot.main([str(path)])
    assert "\n" not in str(failure.value)


def test_the_plot_command(tmp_path, capsys):
    path = results(tmp_path, {"a": {"bytes": 10, "training": {"1000": trained(0.1, 2.0)}}})
    assert benchmark_plot.main([str(path)]) == 0
    assert "bpe_training.svg" in capsys.readouterr().out
    assert benchmark_plot.main(["--help"]) == 0


def test_a_part_measured_alone_replaces_that_part(tmp_path):
    path = results(tmp_path, {"a": {"bytes": 10, "training": {"1000": 1}, "encoding": {"gpt2": 1}}})
    new = {
        "corpora": {"a": {"bytes": 10, "encoding": {"gpt2": 2}}},
        "measured_by": {"encoding": "this command"},
    }
    merged = benchmark.with_other_parts(path, new)
    assert merged["corpora"]["a"] == {"bytes": 10, "training": {"1000": 1}, "encoding": {"gpt2": 2}}
    assert merged["measured_by"]["encoding"] == "this command"
    other = {"corpora": {"another text": {"bytes": 3}}}
    assert benchmark.with_other_parts(path, other) == other, "figures of other texts are dropped"
    assert benchmark.with_other_parts(tmp_path / "none.json", other) == other
