"""LF8 beside TRL: its code from log-probabilities to loss, handed a model that gives them as its patched ones do."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from preference_checks import tiny_pairs, tiny_policy, tiny_tokenizer

from finetuning.preference import data, losses
from finetuning.preference.reference import OnlineReference

KINDS = ("sigmoid", "ipo", "smoothed")
BETA, SMOOTHING = 0.3, 0.2


class _AsTrlPatchesIt(torch.nn.Module):
    """Log-probabilities in TRL's place: place t holds that of token t + 1, and 0 stands for what is masked out."""

    is_gradient_checkpointing = False

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Any, labels: Any, **kinds: Any) -> Any:
        log_probs = self.net(input_ids).logits[:, :-1].log_softmax(-1)
        asked = labels[:, 1:]
        picked = log_probs.gather(-1, asked.clamp(min=0)[..., None])[..., 0] * (asked != -100)
        nothing = torch.zeros_like(picked)  # what is only logged
        return SimpleNamespace(log_probs=picked, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


def check_the_loss_is_trls(kind: str) -> None:
    """Sums (means for IPO), margins, beta and smoothing make the number that `DPOTrainer` makes of the same rows."""
    tokenizer = tiny_tokenizer()
    ids, labels = data.stack(tiny_pairs(tokenizer))
    policy, other = tiny_policy(tokenizer, 0), tiny_policy(tokenizer, 1)
    mask = torch.zeros_like(ids)
    mask[:, 1:] = (labels != -100)[:, :-1].long()  # TRL's labels are not shifted
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    theirs = _trl_loss(_AsTrlPatchesIt(policy), _AsTrlPatchesIt(other), inputs, kind).item()
    per_token = kind == "ipo"  # TRL's IPO divides by the answer's length
    mine = losses.answer_log_probs(policy(ids).logits, labels, per_token=per_token)
    known = OnlineReference(other, per_token=per_token)(ids, labels)
    settings: dict[str, Any] = (
        {"kind": "ipo"} if kind == "ipo" else {"label_smoothing": SMOOTHING if kind == "smoothed" else 0.0}
    )
    pair = losses.dpo_loss(*mine.chunk(2), *known.chunk(2), beta=BETA, **settings)
    ours = pair.loss.mean().item()
    assert abs(ours - theirs) <= 1e-5 * abs(theirs), (
        f"{kind}: {ours}, but TRL makes {theirs} of the same rows"
    )


def _trl_loss(model: Any, reference: Any, inputs: dict[str, torch.Tensor], kind: str) -> torch.Tensor:
    """`DPOTrainer._compute_loss` without a trainer around it."""
    from trl.trainer.dpo_trainer import DPOTrainer

    gather = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda t: t, gather=lambda t: t)
    gather.unwrap_model = lambda m: m
    trainer: Any = SimpleNamespace(
        model=model,
        ref_model=reference,
        accelerator=gather,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=1.0,
        beta=BETA,
        label_smoothing=SMOOTHING,
        loss_types=["ipo" if kind == "ipo" else "sigmoid"],
        loss_weights=[1.0],
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )

    def loss(rows: dict[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = DPOTrainer._compute_loss(trainer, model, rows, False)
        return found

    if kind != "smoothed":
        return loss(inputs)
    # cDPO is this mean of the loss and the loss the other way round (Mitchell 2023, eq. 3)
    turned = {name: torch.cat(t.chunk(2)[::-1]) for name, t in inputs.items()}
    return (1 - SMOOTHING) * loss(inputs) + SMOOTHING * loss(turned)
