"""The bugs that LF5's laws exist for, put back on purpose."""

from collections import Counter

import classification_checks as checks
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from finetuning import trainable
from finetuning.classification import batches, data, metrics, model, predict, tuning
from finetuning.classification.early_stopping import EarlyStopping
from gpt_model.gpt import Output


def test_reading_the_last_place_of_the_row(monkeypatch):
    """The classic: position -1, which is padding in all rows but the longest."""
    monkeypatch.setattr(model, "pooled", lambda stream, real, pool: stream[:, -1])
    with pytest.raises(AssertionError, match="own last real token"):
        checks.check_it_reads_the_last_real_token("gpt2", "last")


def test_padding_known_by_a_token_that_texts_have(monkeypatch):
    """Padding with id 0 and looking for it: a text that ends in id 0 loses its last token."""
    real = model.Classifier.features
    monkeypatch.setattr(
        model.Classifier,
        "features",
        lambda self, ids: real(self, torch.where(ids.clamp(min=0) == 0, model.PADDING, ids)),
    )
    with pytest.raises(AssertionError, match="own last real token"):
        checks.check_it_reads_the_last_real_token("gpt2", "last")


def test_counting_tokens_instead_of_finding_the_last(monkeypatch):
    """length - 1 is the last place only where padding stands on the right."""

    def counted(stream, real, pool):
        return stream[torch.arange(len(stream)), real.sum(dim=1) - 1]

    monkeypatch.setattr(model, "pooled", counted)
    with pytest.raises(AssertionError, match="padded on the left"):
        checks.check_it_reads_the_last_real_token("gpt2", "last")


def test_left_padding_without_a_mask(monkeypatch):
    real = model.Body.forward
    monkeypatch.setattr(model.Body, "forward", lambda self, ids, **how: real(self, ids))
    with pytest.raises(AssertionError, match="padded on the left"):
        checks.check_it_reads_the_last_real_token("rope", "last")


def test_a_mean_over_padding_too(monkeypatch):
    monkeypatch.setattr(model, "pooled", lambda stream, real, pool: stream.mean(dim=1))
    with pytest.raises(AssertionError, match="pool=mean"):
        checks.check_it_reads_the_last_real_token("gpt2", "mean")


def test_the_stream_before_the_final_norm(monkeypatch):
    monkeypatch.setattr(model.Body, "unembed", lambda self, x: x)
    with pytest.raises(AssertionError, match="alone"):
        checks.check_it_reads_the_last_real_token("gpt2", "last")


def test_probabilities_in_the_order_of_lengths(monkeypatch):
    def sorted_ones(self, rows, *, batch_size=64):
        with torch.no_grad():
            ordered = sorted(rows, key=len)
            return torch.cat([self(torch.tensor([row])).logits.float().softmax(-1) for row in ordered])

    monkeypatch.setattr(model.Classifier, "probabilities", sorted_ones)
    with pytest.raises(AssertionError, match="of another one"):
        checks.check_probabilities_come_back_in_their_order()


def weighted(losses_over):
    def forward(self, ids, *, targets=None):
        logits = self.head(self.dropout(self.features(ids)))
        return Output(logits, None if targets is None else losses_over(self, logits.float(), targets))

    return forward


def test_torchs_weighted_mean(monkeypatch):
    """`F.cross_entropy(weight=…)` divides by the sum of the weights: a cut batch has another gradient."""
    mean = weighted(
        lambda self, z, y: F.cross_entropy(z, y, weight=self.class_weights.float() if self.training else None)
    )
    monkeypatch.setattr(model.Classifier, "forward", mean)
    checks.check_the_loss_is_the_mean_over_texts(None)
    with pytest.raises(AssertionError, match="in training the loss"):
        checks.check_the_loss_is_the_mean_over_texts((1.0, 4.0, 0.5))


def test_weights_in_evaluation_too(monkeypatch):
    def always(self, z, y):
        return (F.cross_entropy(z, y, reduction="none") * self.class_weights[y]).mean()

    monkeypatch.setattr(model.Classifier, "forward", weighted(always))
    with pytest.raises(AssertionError, match="for training alone"):
        checks.check_the_loss_is_the_mean_over_texts((1.0, 4.0, 0.5))


def test_weights_that_are_only_rare_over_frequent(monkeypatch):
    def inverse(wanted, labels, numbers):
        counts = Counter(numbers)
        return tuple(max(counts.values()) / counts[i] for i in range(len(labels)))

    monkeypatch.setattr(tuning, "class_weights", inverse)
    with pytest.raises(AssertionError, match="scikit-learn has"):
        checks.check_balanced_weights()


def test_freezing_nothing(monkeypatch):
    real = trainable.freeze_for
    monkeypatch.setattr(trainable, "freeze_for", lambda made, tune: real(made, "all"))
    with pytest.raises(AssertionError, match="tune=head changed"):
        checks.check_only_what_tune_names_changes("head")
    with pytest.raises(AssertionError, match="tune=last-1 changed"):
        checks.check_only_what_tune_names_changes("last-1")


def test_a_checkpoint_that_forgets_its_adapter(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "add_lora", lambda made, settings: None)
    with pytest.raises((AssertionError, ValueError)):
        checks.check_saved_and_loaded_is_the_same(tmp_path, "lora")


def test_an_order_that_is_not_saved(monkeypatch, tmp_path):
    monkeypatch.setattr(batches.ClassBatches, "load_state_dict", lambda self, state: None)
    with pytest.raises(AssertionError, match="resumed elsewhere"):
        checks.check_each_text_once_an_epoch()
    with pytest.raises(AssertionError, match="after the resume"):
        checks.check_a_resumed_run_is_the_whole_run(tmp_path, "all")


def test_rows_sorted_and_labels_not(monkeypatch):
    real = batches.ClassBatches.__next__

    def apart(self):
        ids, labels = real(self)
        return ids, labels.sort().values

    monkeypatch.setattr(batches.ClassBatches, "__next__", apart)
    with pytest.raises(AssertionError, match="lost its label"):
        checks.check_each_text_once_an_epoch()


def test_batches_of_mixed_lengths(monkeypatch):
    monkeypatch.setattr(batches, "POOL", 1)
    with pytest.raises(AssertionError, match="not kept together"):
        checks.check_each_text_once_an_epoch()


def test_special_tokens_out_of_texts(monkeypatch):
    """Ids for whatever a text spells: whoever writes a review could end the document."""
    from working_with_text_data.byte_tokenizer import ByteTokenizer

    real = ByteTokenizer.encode_ordinary

    def spelled(self, text):
        first, *others = text.split("<|eos|>")
        ids = real(self, first)
        for other in others:
            ids += [self.special_tokens["<|eos|>"], *real(self, other)]
        return ids

    monkeypatch.setattr(ByteTokenizer, "encode_ordinary", spelled)
    with pytest.raises(AssertionError, match="LT4"):
        checks.check_cutting_keeps_what_it_says()


def test_the_wrong_end_of_a_text(monkeypatch):
    monkeypatch.setattr(batches, "cut", lambda ids, limit, keep="start": list(ids)[:limit])
    with pytest.raises(AssertionError, match="keep=end kept"):
        checks.check_cutting_keeps_what_it_says()


def test_a_split_by_position(monkeypatch, tmp_path):
    """Copies of a text on both sides: the test set has been seen."""

    def by_position(pool, fraction, seed, name, where):
        kept, held = [], []
        for label in sorted({each.label for each in pool}):
            mine = [each for each in pool if each.label == label]
            cut = len(mine) - round(fraction * len(mine))
            kept, held = kept + mine[:cut], held + mine[cut:]
        return kept, held

    monkeypatch.setattr(data, "_share", by_position)
    with pytest.raises(AssertionError, match="share"):
        checks.check_no_text_judges_itself(tmp_path)


def test_an_overlap_that_nobody_looks_for(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_apart", lambda pool, test, config: (pool, 0))
    with pytest.raises(AssertionError):
        checks.check_no_text_judges_itself(tmp_path)


def test_the_first_so_many_of_a_sorted_set(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_some", lambda part, count, seed: part if count is None else part[:count])
    with pytest.raises((AssertionError, ValueError)):
        checks.check_what_is_taken_is_mixed(tmp_path)


def test_bad_lines_that_vanish(monkeypatch, tmp_path):
    from finetuning.classification import reading

    monkeypatch.setattr(reading, "_bad", lambda error, fields, problems: None)
    with pytest.raises(AssertionError, match="without a word"):
        checks.check_bad_lines_are_named_or_counted(tmp_path)


def test_labels_of_the_test_set_as_classes(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_known", lambda test, labels, config, problems: test)
    with pytest.raises((AssertionError, KeyError)):
        checks.check_unusable_sets_are_refused(tmp_path)


def test_precision_and_recall_exchanged(monkeypatch):
    real = metrics.confusion
    monkeypatch.setattr(metrics, "confusion", lambda truth, predicted, k: real(truth, predicted, k).T)
    with pytest.raises(AssertionError, match="precision"):
        checks.check_scores_equal_scikit_learns()


def test_zero_over_zero_as_nan(monkeypatch):
    def naive(over, under):
        with np.errstate(all="ignore"):
            return over / under

    monkeypatch.setattr(metrics, "_ratio", naive)
    with pytest.raises(AssertionError):
        checks.check_scores_equal_scikit_learns()


def test_bins_that_count_alike(monkeypatch):
    """The mean over bins instead of over texts: a bin with three texts weighs as much as one with three hundred."""
    real = metrics.calibration

    def alike(p, truth, bins=10):
        found, _ = real(p, truth, bins)
        return found, float(np.mean([abs(b.confidence - b.accuracy) for b in found]))

    monkeypatch.setattr(metrics, "calibration", alike)
    with pytest.raises(AssertionError, match="ECE"):
        checks.check_calibration_equals_a_loop()


def test_an_interval_of_texts_alone(monkeypatch):
    real = metrics.bootstrap

    def first_run(truth, predicted, labels, *rest, **how):
        return real(truth, np.atleast_2d(predicted)[:1], labels, *rest, **how)

    monkeypatch.setattr(metrics, "bootstrap", first_run)
    with pytest.raises(AssertionError, match="does not know"):
        checks.check_intervals_cover_texts_and_seeds()


def test_a_difference_on_other_texts(monkeypatch):
    real = metrics.bootstrap

    def apart(truth, predicted, labels, *rest, against=None, **how):
        one = real(truth, predicted, labels, *rest, **how)
        if against is None:
            return one
        other = real(truth, against, labels, *rest, **{**how, "seed": 1})
        return one[0] - other[0], one[1] - other[2], one[2] - other[1]

    monkeypatch.setattr(metrics, "bootstrap", apart)
    with pytest.raises(AssertionError):
        checks.check_intervals_cover_texts_and_seeds()


def test_the_last_checkpoint_judged(monkeypatch, tmp_path):
    from pretraining import checkpoints

    real = checkpoints.find_checkpoint
    monkeypatch.setattr(checkpoints, "find_checkpoint", lambda run, which="last": real(run, "last"))
    with pytest.raises(AssertionError, match="was best"):
        checks.check_the_test_set_judges_once(tmp_path, monkeypatch)


def test_the_test_set_chooses(monkeypatch, tmp_path):
    """Asked after every evaluation, the test set has chosen the checkpoint, and its figure flatters."""
    real = EarlyStopping.on_evaluate

    def peeking(self, trainer, result):
        real(self, trainer, result)
        part = data.load_class_data(data.DataConfig(reviews=60)).test
        predict.judge(trainer.model, trainer.tokenizer, part, ("negative", "positive"))
        trainer.model.train()

    monkeypatch.setattr(EarlyStopping, "on_evaluate", peeking)
    with pytest.raises(AssertionError, match="asked"):
        checks.check_the_test_set_judges_once(tmp_path, monkeypatch)


def test_patience_that_never_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(EarlyStopping, "waited", property(lambda self: 0))
    with pytest.raises(AssertionError):
        checks.check_early_stopping_waits_and_ends(tmp_path)


def test_patience_counted_over_all(monkeypatch, tmp_path):
    """The number of evaluations so far instead of those since the lowest loss."""
    monkeypatch.setattr(EarlyStopping, "waited", property(lambda self: len(self.losses) - 1))
    with pytest.raises(AssertionError, match="another time"):
        checks.check_early_stopping_waits_and_ends(tmp_path)
