"""`python -m gpt_model.sample`: every flag reaches the rule that it names, and bad ones are one line."""

from __future__ import annotations

import pytest
import torch

from gpt_model import GPT, preset, sample
from utils.cli import run_main
from working_with_text_data import ByteTokenizer


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = GPT(preset("debug", vocab_size=300, block_size=48)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)
    model.save_pretrained(tmp_path / "model")
    ByteTokenizer().save(tmp_path / "model" / "tokenizer.json")
    return tmp_path / "model"


def written(folder, capsys, *flags, prompt="ab", new="12"):
    arguments = ["--ckpt", str(folder), "--prompt", prompt, "--max-new-tokens", new, "--seed", "3", *flags]
    assert sample.main(arguments) == 0
    return capsys.readouterr().out


def test_penalties_and_bans_change_what_is_written(folder, capsys):
    plain = written(folder, capsys, "--temperature", "0")
    first = plain[2]
    for flags in (
        ["--bad-word", first],
        ["--logit-bias", f"{first.encode()[0]}=-100"],
        ["--repetition-penalty", "50"],
        ["--presence-penalty", "90"],
        ["--frequency-penalty", "90"],
        ["--no-repeat-ngram", "1"],
    ):
        changed = written(folder, capsys, "--temperature", "0", *flags)
        assert changed != plain, f"{flags} changed nothing"
    hot = ["--temperature", "50", "--top-k", "0"]
    assert written(folder, capsys, *hot) != plain
    assert written(folder, capsys, *hot, "--min-p", "1") == plain, "min-p 1 leaves the likeliest token only"


def test_a_text_ends_before_a_stop_string(folder, capsys):
    plain = written(folder, capsys, "--temperature", "0")
    stop = plain[5:7]
    for extra in ([], ["--stream"]):
        cut = written(folder, capsys, "--temperature", "0", "--stop", stop, *extra)
        assert cut == plain[: plain.index(stop, 2)] + "\n"


def test_probabilities_are_listed_for_drawn_and_searched_texts(folder, capsys):
    for extra in ([], ["--stream"], ["--beams", "3"], ["--on-overflow", "slide"]):
        out = written(folder, capsys, "--show-probabilities", *extra, new="4")
        assert "probability" in out and "entropy" in out and out.count("%") >= 4
        assert "nats per token" in out


def test_a_search_prints_its_best_texts_and_is_not_drawn(folder, capsys):
    best = written(folder, capsys, "--beams", "3")
    three = written(folder, capsys, "--beams", "3", "--num-samples", "3").split("-" * 40 + "\n")
    assert three[0] == best and len(set(three)) == 3
    assert written(folder, capsys, "--beams", "1") == written(folder, capsys, "--temperature", "0")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min-p", "2"], "min_p is 2"),
        (["--presence-penalty", "nan"], "presence_penalty is nan"),
        (["--no-repeat-ngram", "-1"], "no_repeat_ngram_size is -1"),
        (["--min-new-tokens", "-1"], "min_new_tokens is -1"),
        (["--logit-bias", "x=1"], "--logit-bias is x=1"),
        (["--logit-bias", "5"], "--logit-bias is 5"),
        (["--logit-bias", "400=1"], "id 400"),
        (["--stop", ""], "stop string is empty"),
        (["--beams", "-1"], "--beams is -1"),
        (["--beams", "2", "--stream"], "--stream and --beams"),
        (["--beams", "2", "--num-samples", "3"], "--num-samples is 3"),
        (["--beams", "2", "--on-overflow", "slide"], "--on-overflow slide"),
        (["--beams", "2", "--length-penalty", "nan"], "length_penalty is nan"),
    ],
    ids=str,
)
def test_a_bad_flag_is_one_line_and_nothing_else(folder, capsys, flags, message):
    assert run_main(sample.main, ["--ckpt", str(folder), "--prompt", "ab", *flags]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and message in err and err.count("\n") == 1


def test_smaller_weights_and_quick_steps_write_a_text(folder, capsys):
    plain = written(folder, capsys, "--temperature", "0")
    assert written(folder, capsys, "--temperature", "0", "--dtype", "fp32") == plain, (
        "the step is the model's"
    )
    for flags in (["--quantize", "int8"], ["--quantize", "int4"], ["--quantize", "int8", "--dtype", "fp32"]):
        assert len(written(folder, capsys, "--temperature", "0", *flags)) > 10
    assert len(written(folder, capsys, "--quantize", "int8", "--beams", "2")) > 10


def test_a_compiled_step_is_asked_for(folder, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.append(options) or function)
    plain = written(folder, capsys, "--temperature", "0")
    assert not asked
    assert written(folder, capsys, "--temperature", "0", "--compile") == plain
    assert asked and not asked[0]["dynamic"]
