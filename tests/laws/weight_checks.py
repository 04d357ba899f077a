"""Laws of the weights, as functions that raise: GPT-2 parity (LG1), learning (LG5), tying (LG6), init (LG7).

The reference for parity is transformers' own GPT-2 with random weights; the rest is arithmetic that can be
read in one look. The mutation tests call the same functions on code with a classic bug put back.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from pathlib import Path
from typing import Any

import torch
from model_checks import assert_close, make_loud, some_ids
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt_model import GPT

# LG1 ------------------------------------------------------------------------------------------------


def tiny_gpt2(seed: int = 0, **fields: Any) -> Any:
    """A random GPT2LMHeadModel whose activation kind, epsilon and transposes all show in its logits.

    Embeddings are small, so that the epsilon of the first norm counts; matrices are large, so that
    tanh-GELU and erf-GELU part by far more than 1e-5.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {"vocab_size": 31, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3}
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**{**settings, **fields})).eval()
    make_loud(model, seed)
    with torch.no_grad():
        model.transformer.wte.weight.mul_(0.1)
        model.transformer.wpe.weight.mul_(0.1)
    return model


@torch.no_grad()
def check_gpt2_parity(reference: Any, folder: Path, *, batch: int = 2, length: int = 16) -> None:
    """Our import of the folder that ``reference`` was saved in gives the reference's logits to 1e-5."""
    ours = GPT.from_pretrained(str(folder)).eval()
    ids = some_ids(batch, length, vocab=reference.config.vocab_size)
    assert_close(ours(ids).logits, reference(ids).logits, 1e-5, (
        "imported GPT-2 weights give other logits than transformers. Check: gelu is the tanh form "
        "(gelu_new), the norm's epsilon is 1e-5, all four Conv1D weights of a block are transposed (the "
        "square c_proj loads either way!), and the scores are scaled"
    ))  # fmt: skip


def rewrite_weights(source: Path, target: Path, change: Any, **config: Any) -> Path:
    """A copy of a saved model with its tensors passed through ``change`` and config fields replaced."""
    target.mkdir(parents=True, exist_ok=True)
    fields = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**fields, **config}), encoding="utf-8")
    tensors = change(load_file(str(source / "model.safetensors")))
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(target / "model.safetensors"))
    return target


# LG5 ------------------------------------------------------------------------------------------------


@torch.no_grad()
def check_loss_at_init(model: GPT) -> None:
    """An untrained model knows nothing: its loss is ln(vocabulary), the loss of guessing evenly."""
    vocab = model.config.vocab_size
    ids = some_ids(8, model.config.block_size + 1, vocab=vocab, seed=11)
    loss = model(ids[:, :-1], targets=ids[:, 1:]).loss.item()
    assert abs(loss - math.log(vocab)) <= 0.1, (
        f"loss at initialisation is {loss:.3f}, ln({vocab}) is {math.log(vocab):.3f}: "
        "too high means logits start too large (init scale), too low means the answer leaks"
    )


def check_one_batch_is_overfitted(model: GPT, steps: int = 150, lr: float = 1e-2) -> None:
    """Plain AdamW drives the loss on one batch below 0.05: gradients reach everything they must."""
    model.train()
    ids = some_ids(4, 17, vocab=model.config.vocab_size, seed=5)
    ids[:, 0] = torch.arange(4)  # rows start apart, so that the past always decides what comes next
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0, betas=(0.9, 0.95))
    loss = math.inf
    for _ in range(steps):
        output = model(ids[:, :-1], targets=ids[:, 1:])
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        loss = output.loss.item()
        if loss < 0.05:
            return
    raise AssertionError(
        f"after {steps} steps on one batch the loss is still {loss:.3f}, wanted < 0.05: a healthy model "
        "memorises 64 tokens. Look for a detached tensor, a target shift, or a missing position"
    )


@torch.no_grad()
def check_ignored_targets(model: GPT) -> None:
    """The loss is the mean over the targets that count; -100 marks those that do not."""
    ids, targets = some_ids(2, 6), some_ids(2, 6, seed=1)
    targets[0, :4] = -100
    targets[1, 2] = -100
    output = model(ids, targets=targets)
    log_p = torch.log_softmax(output.logits.double(), dim=-1)
    kept = [
        -log_p[b, t, targets[b, t]].item()
        for b, t in itertools.product(range(2), range(6))
        if targets[b, t] != -100
    ]
    wanted, got = sum(kept) / len(kept), output.loss.item()
    assert abs(got - wanted) < 1e-6, f"the loss is {got:.4f}, without the ignored targets {wanted:.4f}"
    nothing = model(ids, targets=torch.full((2, 6), -100)).loss.item()
    assert nothing == 0, f"a batch whose targets are all ignored has loss {nothing}: 0 / 0 must not be NaN"


# LG6, LG7 -------------------------------------------------------------------------------------------


def check_tied_once(model: GPT, folder: Path) -> None:
    """Head and token table are one storage, saved once, after load, `.to` and an optimizer step alike."""
    ids = some_ids(2, 9)
    table_size = model.config.vocab_size * model.config.n_embd

    def check_shared(m: GPT, when: str) -> None:
        tables = [p for p in m.parameters() if p.numel() == table_size and p.shape[0] == m.config.vocab_size]
        assert len(tables) == 1, (
            f"{when}: {len(tables)} parameters of the token table's shape: the head is a copy"
        )
        with torch.no_grad():
            last = m.final_norm(run_blocks(m, ids))
            assert_close(
                m(ids).logits, last @ tables[0].T, 1e-5, f"{when}: logits do not come from the token table"
            )

    check_shared(model, "as built")
    check_shared(copy.deepcopy(model), "after deepcopy")
    model.save_pretrained(folder)
    saved = load_file(str(folder / "model.safetensors"))
    assert sum(t.numel() for t in saved.values()) == model.num_parameters(), "the tied weight is saved twice"
    check_shared(GPT.load(folder), "after save and load")
    moved = copy.deepcopy(model).to(torch.float64)
    check_shared(moved, "after .to(float64)")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({p.data_ptr() for p in held}) == len(held), "the optimizer holds one storage twice"
    model(ids[:, :-1], targets=ids[:, 1:]).loss.backward()
    optimizer.step()
    check_shared(model, "after an optimizer step")


@torch.no_grad()
def run_blocks(model: GPT, ids: Tensor) -> Tensor:
    """The residual stream after the last block, caught on its way into the final norm."""
    caught: list[Tensor] = []
    hook = model.final_norm.register_forward_hook(lambda _m, inputs, _o: caught.append(inputs[0]))
    try:
        model(ids)
    finally:
        hook.remove()
    return caught[0]


@torch.no_grad()
def check_init_std(model: GPT) -> None:
    """Matrices start at std 0.02, those that write to the residual stream at 0.02/sqrt(2 n_layer) (2 %)."""
    small = 0.02 / math.sqrt(2 * model.config.n_layer)
    writers = 0
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            wanted = 0.0 if name.endswith("bias") else 1.0
            assert bool((parameter == wanted).all()), f"{name} must start at {wanted}"
            continue
        writes = name.endswith("out_proj.weight")
        writers += writes
        wanted, got = (small if writes else 0.02), parameter.double().std().item()
        assert abs(got / wanted - 1) < 0.02, f"{name} starts with std {got:.5f}, wanted {wanted:.5f}"
        assert abs(parameter.double().mean().item()) < 0.02 * 0.02, f"{name} does not start centred"
    assert writers == 2 * model.config.n_layer, (
        f"{writers} projections write to the residual stream: 2 per layer"
    )
