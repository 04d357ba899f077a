"""Pairs from their sources, and the measures on models whose answer is known."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from finetuning.preference import benchmark
from finetuning.preference.data import PairBatches, PreferencePair, ask, encode_pairs, stack
from finetuning.preference.losses import answer_log_probs
from finetuning.preference.measure import drift, measure_preferences
from finetuning.preference.monitor import Monitor
from finetuning.preference.objective import PreferenceObjective
from finetuning.preference.reference import CachedReference, OnlineReference
from finetuning.preference.sources import generated_pairs, model_pairs
from utils.errors import RunFailure, UserError
from working_with_text_data.storyland.tasks import held_out, verify


@pytest.fixture
def pairs(chat_tokenizer):
    return encode_pairs(generated_pairs(12, seed=3), chat_tokenizer, 128).kept


def test_generated_pairs_are_right_and_wrong_and_held_out_where_they_judge():
    for judging in (False, True):
        found = generated_pairs(30, seed=1, judging=judging)
        assert len(found) == 30 == len({(p.prompt, p.rejected) for p in found})
        for pair in found:
            assert held_out(pair.prompt) is judging
            assert verify(pair.kind, pair.prompt, pair.chosen)
            assert not verify(pair.kind, pair.prompt, pair.rejected)


def test_a_models_own_mistakes_are_rejected_and_repeat_for_the_same_seed(chat_tokenizer, tiny_gpt):
    found = model_pairs(tiny_gpt, chat_tokenizer, 6, seed=2, batch_size=8)
    assert len(found.pairs) == 6 and found.asked >= found.wrong >= 6
    for pair in found.pairs:
        assert pair.reason == "own_mistake" and not held_out(pair.prompt)
        assert not verify(pair.kind, pair.prompt, pair.rejected)
    assert model_pairs(tiny_gpt, chat_tokenizer, 6, seed=2, batch_size=8) == found


def test_batches_give_each_pair_once_an_epoch_and_go_on_anywhere(pairs):
    def chosen(batch):
        return [row.tobytes() for row in batch[0][: len(batch[0]) // 2].numpy()]

    loader = PairBatches(pairs, 3, seed=4)
    whole = [next(loader) for _ in range(8)]
    assert loader.epoch == 2 and loader.position == 0
    first = sorted(int((x[:3] != 0).sum()) for x, _ in whole[:4])
    assert first == sorted(int((x[:3] != 0).sum()) for x, _ in whole[:4])
    other = PairBatches(pairs, 3, seed=99)
    loader = PairBatches(pairs, 3, seed=4)
    [next(loader) for _ in range(5)]
    other.load_state_dict(loader.state_dict())
    assert chosen(next(other)) == chosen(whole[5])
    with pytest.raises(UserError, match="same pairs"):
        PairBatches(pairs[:5], 3).load_state_dict(loader.state_dict())


def test_a_cached_reference_refuses_what_it_was_not_asked(pairs, tiny_gpt):
    reference = CachedReference(tiny_gpt, pairs[:4])
    with pytest.raises(RunFailure, match="was not among those"):
        reference(*stack(pairs[4:6]))


def test_measures_of_the_untouched_model_are_nothing_and_of_a_changed_one_add_up(pairs, tiny_gpt):
    reference = OnlineReference(tiny_gpt)
    same = measure_preferences(tiny_gpt, reference, pairs)
    assert same.accuracy.hits == 0 and same.margin == 0 and same.loss == pytest.approx(math.log(2))
    with torch.no_grad():
        for parameter in tiny_gpt.parameters():
            parameter.mul_(1.3)
    score = measure_preferences(tiny_gpt, reference, pairs, beta=0.5)
    ids, labels = stack(pairs)
    mine = answer_log_probs(tiny_gpt(ids).logits, labels).detach()
    margin = (
        0.5 * (mine - reference(ids, labels)).chunk(2)[0] - 0.5 * (mine - reference(ids, labels)).chunk(2)[1]
    )
    assert score.margin == pytest.approx(float(margin.mean()), abs=1e-4)
    assert score.accuracy.hits == int((margin > 0).sum()) and score.accuracy.total == len(pairs)
    assert sum(share.total for share in score.by_reason.values()) == len(pairs)


def test_drift_is_zero_at_home_and_positive_elsewhere(pairs, tiny_gpt):
    prompts = [each.prompt_ids for each in pairs[:3]]
    reference = OnlineReference(tiny_gpt).model
    home = drift(tiny_gpt, reference, prompts, ())
    assert home.kl == pytest.approx(0, abs=1e-9) and home.length == 48 and home.answers == 3
    with torch.no_grad():
        for parameter in tiny_gpt.parameters():
            parameter.mul_(1.5)
    state = torch.get_rng_state()
    away = drift(tiny_gpt, reference, prompts, ())
    assert away.kl > 0.01 and away.kl_per_token == pytest.approx(away.kl / 49)
    assert torch.equal(torch.get_rng_state(), state) and tiny_gpt.training, "measuring leaves no trace"


def test_a_monitor_measures_lengths_always_and_kl_where_it_can_get_a_reference(pairs, tiny_gpt):
    online, cached = OnlineReference(tiny_gpt), CachedReference(tiny_gpt, pairs)
    asked = []

    def load():
        asked.append(torch.rand(1))  # as a model that is loaded draws its first weights
        return untouched

    untouched = online.model
    with torch.no_grad():
        for parameter in tiny_gpt.parameters():
            parameter.mul_(1.5)
    ways = {"online": (online, None), "loaded": (cached, load), "alone": (cached, None)}
    state = torch.get_rng_state()
    rows = {}
    for way, (reference, given) in ways.items():
        look = Monitor(PreferenceObjective(reference), pairs, drawn=3, seed=1, reference=given)
        rows[way] = look.measure(tiny_gpt, 7)
        assert look.measure(tiny_gpt, 7) is rows[way], "once a step"
    assert len(asked) == 1 and torch.equal(torch.get_rng_state(), state), "measuring leaves no trace"
    assert rows["loaded"]["kl"] == rows["online"]["kl"] > 0.01
    assert rows["alone"]["length"] == rows["online"]["length"] == 48 and rows["alone"]["answers"] == 3
    assert not {"kl", "kl_per_token"} & rows["alone"].keys(), "a distance from itself is no measurement"
    none = Monitor(PreferenceObjective(cached), pairs, reference=load).measure(tiny_gpt, 7)
    assert "length" not in none and len(asked) == 1, "nothing is loaded where nothing is drawn"


def test_the_benchmark_measures_and_says_whether_its_goals_were_reached(
    chat_tokenizer, tiny_gpt, tmp_path, capsys
):
    base = tmp_path / "base"
    tiny_gpt.save_pretrained(base)
    chat_tokenizer.save(base / "tokenizer.json")
    out = tmp_path / "preference.json"
    small = ["variants=[dpo]", "seeds=[0,1]", "pairs=8", "held_out=4", "asked=4", "threads=1", f"out={out}"]
    words = "words=[source=generator,drawn=1,steps=2,batch_size=4]"
    assert benchmark.main([f"ckpt={base}", *small, words]) == 0
    told = capsys.readouterr().out
    assert "goal 90% of the pairs in order" in told and "goal no exact answers lost" in told
    found = json.loads(out.read_text())
    rows = found["figures"]["rows"]
    assert [(row["variant"], row["seed"]) for row in rows] == [("dpo", 0), ("dpo", 1)]
    assert "seeds=[0,1]" in found["command"] and " out=" not in found["command"]
    means = benchmark.measured(out)
    assert {"accuracy", "exact_before", "exact_after", "kl", "length", "win_rate"} <= means["dpo"].keys()
    assert means["dpo"]["kl"] == pytest.approx(sum(row["kl"] for row in rows) / 2)
    with pytest.raises(UserError, match="variants are"):
        benchmark.main(["variants=[ppo]"])
    with torch.no_grad():
        tiny_gpt.token_embedding.weight.add_(0.5)
    tiny_gpt.save_pretrained(base)
    with pytest.raises(UserError, match="model_sha256 differ"):  # the same name is another model now
        benchmark.main([f"ckpt={base}", *small, words])


def test_a_benchmark_that_was_stopped_goes_on_and_makes_nothing_twice(tmp_path, monkeypatch, capsys):
    made = []

    def measure(config, variant, seed, model):
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append((variant, seed))
        share = 0.8 + 0.1 * seed
        return {"variant": variant, "seed": seed, "accuracy": share, "kl": 1.0, "by_reason": {"rude": share}}

    monkeypatch.setattr(benchmark, "measure", measure)
    out = tmp_path / "preference.json"
    words = [f"out={out}", "variants=[dpo,ipo]", "seeds=[0,1]", "threads=1", "asked=34"]
    assert benchmark.measured(out) == {}
    stop = 1
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(words)
    assert benchmark.measured(out) == {"dpo": {"accuracy": 0.8, "kl": 1.0}}, "what was made is written"
    stop = None
    assert benchmark.main(words) == 0
    wanted = [("dpo", 0), ("dpo", 1), ("ipo", 0), ("ipo", 1)]
    assert made == wanted
    assert benchmark.measured(out)["dpo"] == {"accuracy": pytest.approx(0.85), "kl": 1.0}
    file = out.read_bytes()
    capsys.readouterr()
    assert benchmark.main(words) == 0 and made == wanted, "nothing is made twice"
    assert "ipo: goal 90% of the pairs in order, 85.0%: not reached" in capsys.readouterr().out
    assert out.read_bytes() == file
    with pytest.raises(UserError, match="asked differ"):
        benchmark.main([*words, "asked=68"])
    assert made == wanted and out.read_bytes() == file
    assert benchmark.main([*words, "asked=68", "seeds=[5]", "variants=[ipo]", "fresh=true"]) == 0
    assert made[4:] == [("ipo", 5)] and list(benchmark.measured(out)) == ["ipo"]
    assert "fresh" not in json.loads(out.read_text())["command"]


def test_a_run_that_was_asked_to_stop_is_no_row(tmp_path, monkeypatch):
    from finetuning.preference import train

    stopped = SimpleNamespace(status="stopped", meta={"result": {}})
    monkeypatch.setattr(train, "prefer", lambda config: stopped)
    out = tmp_path / "preference.json"
    with pytest.raises(KeyboardInterrupt):
        benchmark.main([f"out={out}", "seeds=[0]", "threads=1"])
    assert not out.exists()


@pytest.mark.parametrize("settings", [{"variants": ()}, {"seeds": ()}, {"threads": 0}])
def test_a_benchmark_of_nothing_is_refused(settings):
    with pytest.raises(UserError):
        benchmark.BenchmarkConfig(**settings)


def test_pairs_that_leave_nothing_are_refused(chat_tokenizer):
    same = PreferencePair(ask("Say it."), "yes", "yes")
    with pytest.raises(UserError, match="1 have two equal answers"):
        encode_pairs([same], chat_tokenizer, 128)
