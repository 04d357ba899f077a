"""Classic bugs of initialising, learning and tying, put back one at a time: a law must catch each.

A row holds the bug (a patch), the law's check, and a word of the sentence that the law must fail with. Every
check passes on the code as it is: the law tests run the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_checks import build
from weight_checks import (
    check_ignored_targets,
    check_init_std,
    check_loss_at_init,
    check_one_batch_is_overfitted,
    check_tied_once,
)

from gpt_model import GPT, gpt

Patch = pytest.MonkeyPatch

# Learning and initialisation (LG5, LG7) -------------------------------------------------------------


def initial_weights_of_std_one(patch: Patch) -> None:
    real = GPT.init_weights

    @torch.no_grad()
    def large(self: Any) -> None:
        real(self)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.0)

    patch.setattr(GPT, "init_weights", large)


def residual_projections_not_scaled(patch: Patch) -> None:
    real = GPT.init_weights

    @torch.no_grad()
    def plain(self: Any) -> None:
        real(self)
        for name, parameter in self.named_parameters():
            if name.endswith("out_proj.weight"):
                torch.nn.init.normal_(parameter, std=gpt.INIT_STD)

    patch.setattr(GPT, "init_weights", plain)


def answers_leak_into_the_logits(patch: Patch) -> None:
    real = GPT.forward

    def forward(self: Any, ids: Any, *, targets: Any = None, **rest: Any) -> Any:
        logits = real(self, ids, **rest).logits
        if targets is not None:
            logits = logits + 3 * torch.nn.functional.one_hot(targets, logits.size(-1))
        return gpt.Output(logits, None if targets is None else gpt.token_loss(logits, targets))

    patch.setattr(GPT, "forward", forward)


def attention_never_reaches_the_stream(patch: Patch) -> None:
    def forward(self: Any, x: Any, *_: Any) -> Any:
        self.attn(self.norm_1(x))
        return x + self.mlp(self.norm_2(x))

    patch.setattr(gpt.Block, "forward", forward)


def graph_is_cut_before_the_head(patch: Patch) -> None:
    real = GPT.unembed
    patch.setattr(GPT, "unembed", lambda self, x: real(self, x.detach()))


def targets_of_another_row(patch: Patch) -> None:
    real = gpt.token_loss

    def shuffled(logits: Any, targets: Any, reduction: str = "mean") -> Any:
        return real(logits, targets[torch.randperm(len(targets))], reduction)

    patch.setattr(gpt, "token_loss", shuffled)


def ignored_targets_counted(patch: Patch) -> None:
    real = gpt.token_loss
    patch.setattr(
        gpt,
        "token_loss",
        lambda logits, targets, reduction="mean": real(logits, targets, "sum") / targets.numel(),
    )


def wide() -> GPT:
    return build(loud=False, vocab_size=500, n_layer=3, n_embd=192, n_head=4, block_size=256)


def small() -> GPT:
    return build(loud=False, n_embd=32)


def blind() -> GPT:
    """A model that knows of order through attention alone."""
    return build(loud=False, n_embd=32, position="none")


LEARNING_BUGS: list[tuple[Callable[[Patch], None], Callable[[], None], str]] = [
    (initial_weights_of_std_one, lambda: check_loss_at_init(small()), "loss at initialisation"),
    (answers_leak_into_the_logits, lambda: check_loss_at_init(small()), "loss at initialisation"),
    (
        attention_never_reaches_the_stream,
        lambda: check_one_batch_is_overfitted(blind()),
        "still",
    ),
    (graph_is_cut_before_the_head, lambda: check_one_batch_is_overfitted(small()), "still"),
    (targets_of_another_row, lambda: check_one_batch_is_overfitted(small()), "still"),
    (ignored_targets_counted, lambda: check_ignored_targets(build()), "ignored"),
    (initial_weights_of_std_one, lambda: check_init_std(wide()), "starts with std"),
    (residual_projections_not_scaled, lambda: check_init_std(wide()), "out_proj"),
]


@pytest.mark.parametrize(
    ("bug", "law", "word"),
    LEARNING_BUGS,
    ids=[f"{i}-{r[0].__name__}" for i, r in enumerate(LEARNING_BUGS)],
)
def test_the_law_catches(bug, law, word, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        law()


# Tying (LG6) ----------------------------------------------------------------------------------------


def head_is_a_copy_of_the_table(patch: Patch) -> None:
    real = GPT.__init__

    def init(self: Any, config: Any) -> None:
        real(self, config)
        self.head = torch.nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight.data.copy_(self.token_embedding.weight)

    patch.setattr(GPT, "__init__", init)


def copies_come_apart_when_moved(patch: Patch) -> None:
    real = GPT._apply

    def apply(self: Any, fn: Any, recurse: bool = True) -> Any:
        moved = real(self, fn, recurse)
        if self.token_embedding.weight.dtype != torch.float64:
            return moved
        self.head = torch.nn.Linear(self.config.n_embd, self.config.vocab_size, bias=False)
        self.head.weight = torch.nn.Parameter(self.token_embedding.weight.detach().clone())
        return moved

    patch.setattr(GPT, "_apply", apply)


def tied_weight_saved_twice(patch: Patch) -> None:
    real = GPT.state_dict

    def state_dict(self: Any, *args: Any, **rest: Any) -> Any:
        state = real(self, *args, **rest)
        return {**state, "head.weight": state["token_embedding.weight"].clone()}

    patch.setattr(GPT, "state_dict", state_dict)


@pytest.mark.parametrize(
    ("bug", "word"),
    [
        (head_is_a_copy_of_the_table, "as built"),
        (copies_come_apart_when_moved, "after .to"),
        (tied_weight_saved_twice, "saved twice"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_tying_law_catches(bug, word, monkeypatch, tmp_path):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=word):
        check_tied_once(build(tie_weights=True), tmp_path)
