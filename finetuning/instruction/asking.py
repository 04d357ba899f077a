"""Asks on the way: at each evaluation a few held-out questions, judged by their verifiers, beside the loss.

The loss of an answer falls long before the answer is right, and can go on falling while the model guesses between two
things. Rows in metrics.jsonl have `split: asked`. The questions are the first of those that are asked before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetuning.instruction.questions import Question, ask
from pretraining.callbacks import Callback


class Asking(Callback):
    """Writes the shares of exact and of well-formed answers, `hits` of `total` each, once a step at most."""

    def __init__(self, tokenizer: Any, questions: Sequence[Question], template: str) -> None:
        self.tokenizer, self.questions, self.template = tokenizer, list(questions), template
        self.step = -1

    def on_evaluate(self, trainer: Any, result: Any) -> None:
        if not self.questions or trainer.now.step == self.step:
            return
        self.step = trainer.now.step
        learning = trainer.model.training
        found = ask(trainer.model.eval(), self.tokenizer, self.questions, self.template)
        trainer.model.train(learning)
        shares = {name: {key: share[key] for key in ("hits", "total")} for name, share in found.items()}
        trainer.journal.metric(split="asked", step=self.step, **shares)
