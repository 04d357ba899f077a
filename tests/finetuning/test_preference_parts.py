"""Pairs from their sources, the measures on models whose answer is known, and TRL's loss on the same rows."""

import math
from types import SimpleNamespace

import pytest
import torch

from finetuning.preference import benchmark
from finetuning.preference.data import PairBatches, PreferencePair, ask, encode_pairs, stack
from finetuning.preference.losses import answer_log_probs, dpo_loss
from finetuning.preference.measure import drift, measure_preferences
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


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "smoothed"])
def test_the_loss_is_trls_on_the_same_rows(pairs, tiny_gpt, kind):
    """TRL's own code from log-probabilities to loss, handed a model that gives them as its patched ones do."""
    trl = pytest.importorskip("trl.trainer.dpo_trainer")
    ids, labels = stack(pairs)
    other = OnlineReference(tiny_gpt)
    with torch.no_grad():
        for parameter in tiny_gpt.parameters():
            parameter.mul_(1.2)

    class Wrapped(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net
            self.is_gradient_checkpointing = False

        def forward(self, input_ids, labels, **kinds):
            # TRL shifts: what it masks out is 0, and place t holds the log-probability of token t + 1
            log_probs = self.net(input_ids).logits[:, :-1].log_softmax(-1)
            asked = labels[:, 1:]
            picked = log_probs.gather(-1, asked.clamp(min=0)[..., None])[..., 0] * (asked != -100)
            nothing = torch.zeros_like(picked)  # what is only logged
            return SimpleNamespace(
                log_probs=picked, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
            )

    mask = torch.zeros_like(ids)
    mask[:, 1:] = (labels != -100)[:, :-1].long()  # TRL's labels are not shifted
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    theirs = _trl_loss(trl, Wrapped(tiny_gpt), Wrapped(other.model), inputs, kind)
    per_token = kind == "ipo"  # TRL's IPO divides by the answer's length
    mine = answer_log_probs(tiny_gpt(ids).logits, labels, per_token=per_token)
    reference = OnlineReference(other.model, per_token=per_token)(ids, labels)
    settings = {"kind": "ipo"} if kind == "ipo" else {"label_smoothing": 0.2 if kind == "smoothed" else 0.0}
    ours = dpo_loss(*mine.chunk(2), *reference.chunk(2), beta=0.3, **settings).loss.mean()
    assert float(ours.detach()) == pytest.approx(float(theirs), rel=1e-5)


def _trl_loss(trl, model, reference, inputs, kind):
    """`DPOTrainer._compute_loss` without a trainer around it."""
    from collections import defaultdict

    gather = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda t: t, gather=lambda t: t)
    gather.unwrap_model = lambda m: m
    trainer = SimpleNamespace(
        model=model,
        ref_model=reference,
        accelerator=gather,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=1.0,
        beta=0.3,
        label_smoothing=0.2,
        loss_types=["ipo" if kind == "ipo" else "sigmoid"],
        loss_weights=[1.0],
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    if kind == "smoothed":
        # cDPO is this mean of the loss and the loss the other way round (Mitchell 2023, eq. 3)
        one = trl.DPOTrainer._compute_loss(trainer, model, inputs, False)
        turned = {name: torch.cat(t.chunk(2)[::-1]) for name, t in inputs.items()}
        return 0.8 * one + 0.2 * trl.DPOTrainer._compute_loss(trainer, model, turned, False)
    return trl.DPOTrainer._compute_loss(trainer, model, inputs, False)


def test_the_benchmark_measures_and_says_whether_its_goals_were_reached(
    chat_tokenizer, tiny_gpt, tmp_path, capsys
):
    base = tmp_path / "base"
    tiny_gpt.save_pretrained(base)
    chat_tokenizer.save(base / "tokenizer.json")
    out = tmp_path / "preference.json"
    small = ["variants=[dpo]", "seeds=[0,1]", "pairs=8", "held_out=4", "asked=4", f"out={out}"]
    words = "words=[source=generator,drawn=1,steps=2,batch_size=4]"
    assert benchmark.main([f"ckpt={base}", *small, words]) == 0
    told = capsys.readouterr().out
    assert "goal 90% of the pairs in order" in told and "goal no exact answers lost" in told
    import json

    found = json.loads(out.read_text())
    assert len(found["figures"]["variants"]["dpo"]["rows"]) == 2 and "seeds=[0,1]" in found["command"]
    with pytest.raises(UserError, match="variants are"):
        benchmark.main(["variants=[ppo]"])


def test_pairs_that_leave_nothing_are_refused(chat_tokenizer):
    same = PreferencePair(ask("Say it."), "yes", "yes")
    with pytest.raises(UserError, match="1 have two equal answers"):
        encode_pairs([same], chat_tokenizer, 128)
