"""Instruction tuning on the Trainer: the loss falls on answers, and the batches hold what they should."""

import torch

from finetuning.instruction.data import held_out_requests, training_examples
from finetuning.instruction.tune import tune, validation_batches
from pretraining.config import TrainConfig
from utils.runs import Run


def test_validation_holds_each_example_once_and_only_answers_are_judged(chat_tokenizer):
    examples = training_examples(chat_tokenizer, 50, seed=1)
    batches = validation_batches(examples, 8, 128)
    labels = sum(int((y != -100).sum()) for _, y in batches)
    kept = [(ids, mask) for ids, mask in examples if len(ids) <= 128]
    assert sum(x.shape[0] for x, _ in batches) == len(kept)
    assert labels == sum(sum(mask) for _, mask in kept), "one label for each trained token, shifted once"


def test_tuning_learns_to_answer(chat_tokenizer, tiny_gpt, tmp_path):
    requests = held_out_requests(17, seed=1)
    examples = training_examples(chat_tokenizer, 120, seed=1)
    config = TrainConfig(steps=25, batch_size=4, lr=3e-3, eval_every=0, save_every=0, prompts=[], seed=1)
    run = Run.create("finetune", {}, root=tmp_path)
    with run:
        before = judge(tiny_gpt, examples[:32])
        result = tune(tiny_gpt, chat_tokenizer, examples, examples[:32], config, run)
    assert result.val.loss < before - 0.5
    assert (run.path / "checkpoints" / "last").exists()
    assert requests  # the held-out requests exist beside the training set


def judge(model, examples):
    from pretraining.evaluation import evaluate

    with torch.no_grad():
        return evaluate(model, validation_batches(examples, 8, model.config.block_size)).loss
