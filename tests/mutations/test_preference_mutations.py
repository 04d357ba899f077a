"""Classic bugs of preference tuning, put back on purpose: each must break the law that exists to catch it."""

import numpy as np
import preference_checks as laws
import pytest
import torch
import torch.nn.functional as F

from finetuning.preference import data, losses, objective, reference
from finetuning.preference.losses import PairLosses


def must_fail(check, *arguments, **settings):
    """The law's check must raise AssertionError (any other error would be a crash, not a catch)."""
    with pytest.raises(AssertionError):
        check(*arguments, **settings)


# ---------------------------------------------------------------- log-probabilities


def test_shifting_the_labels_again_is_caught(monkeypatch):
    honest = losses.answer_log_probs

    def twice(logits, labels, **kinds):
        return honest(logits[:, :-1], labels[:, 1:], **kinds)

    monkeypatch.setattr(losses, "answer_log_probs", twice)
    must_fail(laws.check_answers_are_asked_for_token_by_token)


def test_judging_the_request_too_is_caught(monkeypatch):
    def all_of_it(ids, mask):
        return np.append(np.asarray(ids)[1:], -100)

    monkeypatch.setattr(data, "shift_labels", all_of_it)
    must_fail(laws.check_answers_are_asked_for_token_by_token)


def test_judging_the_earlier_answers_of_a_conversation_is_caught(monkeypatch):
    honest = data.shift_labels

    def every_answer(ids, mask):
        """What `render` marks as trained: all that the assistant ever said."""
        found = np.array(mask)
        for pair in laws.PAIRS:
            whole = laws.render([*pair.messages, {"role": "assistant", "content": pair.chosen}], tokenizer)
            if whole.ids == list(ids):
                found = np.array(whole.trained)
        return honest(ids, found)

    tokenizer = laws.tiny_tokenizer()
    monkeypatch.setattr(data, "shift_labels", every_answer)
    must_fail(laws.check_answers_are_asked_for_token_by_token)


def test_leaving_out_the_end_token_is_caught(monkeypatch):
    honest = data.shift_labels

    def without_end(ids, mask):
        labels = honest(ids, mask)
        labels[len(ids) - 2] = -100
        return labels

    monkeypatch.setattr(data, "shift_labels", without_end)
    must_fail(laws.check_answers_are_asked_for_token_by_token)
    must_fail(laws.check_nothing_is_left_out_unsaid)


def test_giving_no_answer_probability_one_is_caught(monkeypatch):
    def trusting(logits, labels, *, per_token=False):
        nats = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return -nats.view_as(labels).sum(-1)

    monkeypatch.setattr(losses, "answer_log_probs", trusting)
    must_fail(laws.check_a_row_without_an_answer_is_refused)


# ---------------------------------------------------------------- the loss


def test_chosen_and_rejected_the_wrong_way_round_is_caught(monkeypatch):
    honest = losses.dpo_loss

    def swapped(pc, pr, rc, rr, **kinds):
        return honest(pr, pc, rr, rc, **kinds)

    for module in (losses, objective):
        monkeypatch.setattr(module, "dpo_loss", swapped)
    must_fail(laws.check_the_gradient_is_the_papers, 0.5, 0.0, "dpo")
    must_fail(laws.check_training_puts_the_pairs_in_order)


def _bent(beta_inside=True, with_reference=True, smooth=1.0, rewards_learn=False):
    """The loss with one thing wrong with it."""

    def bent(pc, pr, rc, rr, *, beta=0.1, label_smoothing=0.0, kind="dpo"):
        chosen, rejected = (pc - rc, pr - rr) if with_reference else (pc, pr)
        margin = chosen - rejected
        inside = beta * margin if beta_inside else margin
        share = label_smoothing * smooth
        loss = -(1 - share) * F.logsigmoid(inside) - share * F.logsigmoid(-inside)
        rewards = (beta * chosen, beta * rejected)
        return PairLosses(loss, *(rewards if rewards_learn else (r.detach() for r in rewards)))

    return bent


@pytest.mark.parametrize(
    ("bug", "beta", "label_smoothing"),
    [
        ({"beta_inside": False}, 0.5, 0.0),
        ({"with_reference": False}, 0.5, 0.0),
        ({"smooth": -1.0}, 0.5, 0.2),
        ({"smooth": 0.0}, 0.5, 0.2),
        ({"rewards_learn": True}, 0.5, 0.0),
    ],
    ids=["no_beta", "no_reference", "smoothing_sign", "no_smoothing", "rewards_with_gradient"],
)
def test_a_bent_loss_is_caught(monkeypatch, bug, beta, label_smoothing):
    monkeypatch.setattr(losses, "dpo_loss", _bent(**bug))
    must_fail(laws.check_the_gradient_is_the_papers, beta, label_smoothing, "dpo")


def test_an_unbent_loss_is_not(monkeypatch):
    monkeypatch.setattr(losses, "dpo_loss", _bent())
    laws.check_the_gradient_is_the_papers(0.5, 0.2, "dpo")


def test_ipo_towards_the_wrong_margin_is_caught(monkeypatch):
    def far(pc, pr, rc, rr, *, beta=0.1, **kinds):
        margin = (pc - rc) - (pr - rr)
        rewards = ((beta * (pc - rc)).detach(), (beta * (pr - rr)).detach())
        return PairLosses((margin - 1 / beta).square(), *rewards)

    monkeypatch.setattr(losses, "dpo_loss", far)
    must_fail(laws.check_the_gradient_is_the_papers, 0.5, 0.0, "ipo")


def test_the_log_of_a_sigmoid_is_caught(monkeypatch):
    def naive(pc, pr, rc, rr, *, beta=0.1, **kinds):
        margin = beta * ((pc - rc) - (pr - rr))
        return PairLosses(-torch.log(torch.sigmoid(margin)), margin.detach(), margin.detach())

    monkeypatch.setattr(losses, "dpo_loss", naive)
    must_fail(laws.check_the_loss_stays_finite)


# ---------------------------------------------------------------- policy and reference


def test_a_reference_that_is_the_policy_itself_is_caught(monkeypatch):
    monkeypatch.setattr(reference, "frozen_copy", lambda model: model)
    must_fail(laws.check_the_reference_never_learns)


def test_a_reference_that_is_copied_but_not_frozen_is_caught(monkeypatch):
    monkeypatch.setattr(reference, "frozen_copy", lambda model: reference.deepcopy(model))
    must_fail(laws.check_the_reference_never_learns)


@pytest.mark.parametrize("how", ["online", "cached"])
def test_a_reference_that_averages_where_the_policy_sums_is_caught(monkeypatch, how):
    honest = reference.log_probs_of

    def mean(*arguments, per_token=False, **kinds):
        return honest(*arguments, per_token=True, **kinds)

    monkeypatch.setattr(reference, "log_probs_of", mean)
    must_fail(laws.check_it_starts_at_ln_2, how)


def test_a_cache_by_place_instead_of_content_is_caught(monkeypatch):
    def by_place(ids, labels):
        return [(str(row).encode(), b"") for row in range(len(ids))]

    monkeypatch.setattr(reference, "_keys", by_place)
    must_fail(laws.check_cached_equals_online)


def test_a_cache_that_forgets_which_answer_was_asked_for_is_caught(monkeypatch):
    def by_request(ids, labels):
        first = (labels != -100).float().argmax(-1)
        return [(row[: int(end) + 1].numpy().tobytes(), b"") for row, end in zip(ids, first, strict=True)]

    monkeypatch.setattr(reference, "_keys", by_request)
    must_fail(laws.check_cached_equals_online)


# ---------------------------------------------------------------- batches


def test_rows_of_pairs_one_below_the_other_are_caught(monkeypatch):
    honest = data.stack

    def interleaved(pairs, pad_id=0):
        ids, labels = honest(pairs, pad_id)
        order = torch.arange(len(ids)).view(2, -1).T.reshape(-1)
        return ids[order], labels[order]

    monkeypatch.setattr(data, "stack", interleaved)
    must_fail(laws.check_one_pass_equals_two)


def test_labelled_padding_is_caught(monkeypatch):
    honest = data.stack

    def padded(pairs, pad_id=0):
        ids, labels = honest(pairs, pad_id)
        for row in labels:
            row[int((row != -100).nonzero().max()) + 1 :] = pad_id
        return ids, labels

    monkeypatch.setattr(data, "stack", padded)
    must_fail(laws.check_one_pass_equals_two)


def test_weighing_pairs_by_their_tokens_is_caught(monkeypatch):
    monkeypatch.setattr(
        objective.PreferenceObjective, "weigh", lambda self, labels: int((labels != -100).sum())
    )
    must_fail(laws.check_every_pair_weighs_the_same)


def test_cutting_a_long_answer_is_caught(monkeypatch):
    honest = data.encode_pair

    def cut(pair, tokenizer, template="scratchbook"):
        found = honest(pair, tokenizer, template)
        rows = [(ids[: laws.BLOCK], labels[: laws.BLOCK]) for ids, labels in (found.chosen, found.rejected)]
        return data.EncodedPair(found.pair, found.prompt_ids, *rows)

    monkeypatch.setattr(data, "encode_pair", cut)
    must_fail(laws.check_nothing_is_left_out_unsaid)
