"""The laws of adapters (LF6) as plain functions: each raises AssertionError with a hint when its law is broken.

Tiny models: two layers of width 16, blocks of 16, a vocabulary of 48. References: closed forms in float64, and peft.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from finetuning import adapters, lora, qlora, trainable
from finetuning.lora import LoRAConfig
from gpt_model.gpt import GPT
from pretraining.callbacks import Callback
from pretraining.checkpoints import load_checkpoint
from pretraining.config import TrainConfig
from pretraining.trainer import Trainer
from utils.runs import Run
from working_with_text_data.windows import BatchLoader

VOCAB, BLOCK = 48, 16
KINDS = {
    "lora": LoRAConfig(r=4, alpha=12.0),
    "rslora": LoRAConfig(r=4, alpha=12.0, rslora=True),
    "dora": LoRAConfig(r=4, alpha=12.0, dora=True),
    "some": LoRAConfig(r=2, alpha=3.0, targets=("qkv_proj", "mlp.out_proj")),
}


def model_of(seed: int = 0, **changes: Any) -> GPT:
    """A tiny model whose weights are large enough for a change to be seen."""
    from gpt_model.config import preset

    torch.manual_seed(seed)
    model = GPT(preset("debug", **{"vocab_size": VOCAB, "block_size": BLOCK, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0) if parameter.dim() > 1 else parameter.add_(0.1)
    return model


def ids_of(rows: int = 3, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, (rows, BLOCK), generator=torch.Generator().manual_seed(seed))


def shake(model: nn.Module, name: str | None = None, seed: int = 2) -> None:
    """Give A, B and DoRA's lengths numbers as if they had been trained for long."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for own, parameter in lora.lora_parameters(model, name).items():
            noise = torch.randn(parameter.shape, generator=generator)
            if "magnitude" in own:
                parameter.mul_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.1 * noise)


@torch.no_grad()
def logits(model: nn.Module, ids: Tensor | None = None) -> Tensor:
    return model(ids_of() if ids is None else ids).logits


def worst(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def check_starts_as_the_base(model: GPT, config: LoRAConfig) -> None:
    """Right after `apply_lora` the model computes what it did, bit for bit."""
    before = logits(model)
    lora.apply_lora(model, config, seed=3)
    assert torch.equal(logits(model), before), (
        "a new adapter changes the output: B must start at zero (and DoRA's lengths at those of the rows)"
    )


def check_change_is_what_the_paper_says(config: LoRAConfig) -> None:
    """One layer in float64 against loops: y = W x + b + scale · B A x, with DoRA's rows made m long."""
    generator = torch.Generator().manual_seed(4)
    base = nn.Linear(5, 7).double()
    layer: Any = lora.apply_lora(nn.Sequential(base), replace(config, targets=("all",)), seed=5)[0].double()
    shake(layer)
    name = "default"
    x = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    a, b = layer.lora_A[name].tolist(), layer.lora_B[name].tolist()
    r = len(a)
    scale = config.alpha / (r**0.5 if config.rslora else r)
    expected = torch.zeros(3, 7, dtype=torch.float64)
    for i in range(7):
        row = [float(base.weight[i, j]) + scale * sum(b[i][k] * a[k][j] for k in range(r)) for j in range(5)]
        if config.dora:
            length = sum(w * w for w in row) ** 0.5
            row = [float(layer.lora_magnitude[name][i]) * w / length for w in row]
        for t in range(3):
            expected[t, i] = sum(w * float(v) for w, v in zip(row, x[t], strict=True)) + float(base.bias[i])
    off = worst(layer(x), expected)
    assert off <= 1e-12, (
        f"the adapted layer is off by {off:.1e}: y = W x + b + (alpha / r) B A x, "
        "alpha / √r for rsLoRA, and DoRA gives row i of the sum the length m_i"
    )
    off = worst(layer.weight, torch.linalg.lstsq(x_all(), layer(x_all()) - base.bias).solution.t())
    assert off <= 1e-10, f"`weight` is not the matrix that the layer multiplies with (off by {off:.1e})"


def x_all() -> Tensor:
    """Five independent inputs: what a layer does with them says what its matrix is."""
    return torch.eye(5, dtype=torch.float64) + 0.1


def check_merge(model: GPT, config: LoRAConfig) -> None:
    """Merged == unmerged; a second merge changes nothing; unmerging gives the base back to the bit."""
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    before = logits(model)
    lora.apply_lora(model, config, seed=3)
    shake(model)
    apart = logits(model)
    assert worst(apart, before) > 1e-2, "the adapter does nothing: is it in use?"
    lora.merge_lora(model)
    once = logits(model)
    assert worst(once, apart) <= 1e-5 * max(1.0, float(apart.abs().max())), (
        f"merged and unmerged differ by {worst(once, apart):.1e}: merging adds scale · B A (with DoRA's lengths)"
    )
    lora.merge_lora(model)
    assert torch.equal(logits(model), once), "merging a second time added the change again"
    lora.unmerge_lora(model)
    assert torch.equal(logits(model), apart), "after unmerging the model is not what it was before the merge"
    lora.set_adapter(model, None)
    assert torch.equal(logits(model), before), "the base was changed by merging and unmerging"
    lora.unload_lora(model)
    assert type(model) is GPT and {name for name, _ in model.named_parameters()} == set(weights)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name]), f"{name} was changed by merging and unmerging"


def check_only_the_adapter_learns(folder: Path, config: LoRAConfig) -> None:
    """Four steps of the Trainer change A and B and nothing else, and only they are saved as the adapter."""
    model = lora.apply_lora(model_of(), config, seed=3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer_of(model, replace(RECIPE, steps=4)).fit()
    own = set(lora.lora_parameters(model))
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == (name in own), (
            f"{name} {'was trained although it is the base' if moved else 'has learned nothing'}: "
            "an adapter freezes all that is not A, B (or DoRA's lengths)"
        )
    adapters.save_adapter(model, folder)
    saved = load_file(folder / adapters.TENSORS)
    count, expected = sum(t.numel() for t in saved.values()), 0
    for layer in lora.lora_layers(model).values():
        expected += config.r * (layer.in_features + layer.out_features)
        expected += layer.out_features if config.dora else 0
    assert count == expected, f"the adapter's file holds {count} numbers, A and B have {expected}"
    share, total = trainable.count_numbers(model)
    assert share == expected and total == sum(p.numel() for p in model.parameters())


def check_switching(model: GPT) -> None:
    """Two adapters in one model, used in turn, compute what each computes alone; None is the base."""
    base = logits(model)
    alone = {}
    for number, name in enumerate(("prose", "verse")):
        one = lora.apply_lora(copy.deepcopy(model), KINDS["lora"], name=name, seed=number)
        shake(one, name, seed=number)
        alone[name] = logits(one)
    for number, name in enumerate(alone):
        lora.apply_lora(model, KINDS["lora"], name=name, seed=number)
        shake(model, name, seed=number)
    for hat in ("prose", "verse", None, "prose"):
        lora.set_adapter(model, hat)
        wanted = base if hat is None else alone[hat]
        assert torch.equal(logits(model), wanted), f"adapter {hat}: another one still speaks"
        learning = {n for n, p in model.named_parameters() if p.requires_grad}
        own = set() if hat is None else set(lora.lora_parameters(model, hat))
        assert learning == own, f"adapter {hat} is in use, but {sorted(learning ^ own)[:2]} would learn"


def check_cached_equals_uncached(model: GPT, config: LoRAConfig) -> None:
    """Whoever reads `weight` (MLA's absorbed path) gets the change as well: a token at a time == all at once."""
    lora.apply_lora(model, config, seed=3)
    shake(model)
    ids, cache = ids_of(2), model.new_cache(2)
    whole = logits_by(model, "naive", ids)
    set_path(model, "absorbed")
    with torch.no_grad():
        steps = torch.cat([model(ids[:, t : t + 1], cache=cache).logits for t in range(BLOCK)], dim=1)
    off = worst(steps, whole) / float(steps.abs().max())
    assert off <= 1e-5, (
        f"decoding differs from the whole pass by {off:.1e}: some path reads the base's matrix"
    )


def set_path(model: GPT, path: str) -> None:
    """MLA has two ways to compute the same; the others have one."""
    for block in model.blocks:
        if hasattr(block.attn, "path"):
            block.attn.path = path


def logits_by(model: GPT, path: str, ids: Tensor) -> Tensor:
    set_path(model, path)
    return logits(model, ids)


# ---------------------------------------------------------------- peft


def peft_config(config: LoRAConfig) -> Any:
    from peft import LoraConfig

    targets = ["qkv_proj", "out_proj", "up_proj"]
    return LoraConfig(
        r=config.r,
        lora_alpha=int(config.alpha),
        lora_dropout=config.dropout,
        target_modules=targets,
        use_rslora=config.rslora,
        use_dora=config.dora,
    )


def check_loads_in_peft_and_back(folder: Path, config: LoRAConfig) -> None:
    """Our file in peft and peft's file in ours: the same logits, and the same gradients of A and B."""
    from peft import PeftModel, get_peft_model

    ours = lora.apply_lora(model_of(), config, seed=3)
    shake(ours)
    adapters.save_adapter(ours, folder / "ours")
    theirs = PeftModel.from_pretrained(model_of(), folder / "ours", is_trainable=True).eval()
    off = worst(logits(ours), logits(theirs))
    assert off <= 1e-5, f"peft computes something else from our file (off by {off:.1e})"

    def gradients(model: nn.Module) -> dict[str, Tensor]:
        model.zero_grad()
        model(ids_of(), targets=ids_of(seed=9)).loss.backward()
        named = model.named_parameters()
        return {name: p.grad for name, p in named if p.grad is not None and "lora_" in name}

    mine, other = gradients(ours), gradients(theirs)
    assert len(mine) == len(other) > 0, f"{len(mine)} gradients here, {len(other)} in peft"
    for name, grad in mine.items():
        path, kind = name.rsplit(".lora_", 1)
        match = [g for n, g in other.items() if f".{path}.lora_{kind.split('.')[0]}" in n]
        assert len(match) == 1, f"{name} has {len(match)} gradients in peft"
        off = worst(grad, match[0]) / (float(grad.abs().max()) + 1e-12)
        assert off <= 1e-4, f"the gradient of {name} differs from peft's by {off:.1e} of its size"

    torch.manual_seed(6)
    foreign = get_peft_model(model_of(), peft_config(config)).eval()
    with torch.no_grad():
        for name, parameter in foreign.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.normal_(std=0.3)
    foreign.save_pretrained(folder / "theirs")
    back = model_of()
    adapters.load_adapter(back, folder / "theirs")
    off = worst(logits(back), logits(foreign))
    assert off <= 1e-5, f"peft's file, read back, computes something else (off by {off:.1e})"


# ---------------------------------------------------------------- runs

RECIPE = TrainConfig(
    steps=6, batch_size=4, lr=5e-3, dtype="fp32", device="cpu", log_every=1, eval_every=0, save_every=3
)


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self.seen.append(record["loss"])


def trainer_of(model: Any, config: TrainConfig, run: Run | None = None, callbacks: Any = ()) -> Trainer:
    ids = torch.arange(700).mul(7).remainder(VOCAB).numpy()
    return Trainer(model, config, BatchLoader(ids, 4, BLOCK, seed=3), run=run, callbacks=callbacks)


def check_resume_is_exact(folder: Path, config: LoRAConfig, *, engine: str | None = None) -> None:
    """6 steps == 3 + save + a new model from the base's file + 3: losses, A, B, optimizer and base with `==`.

    `engine` also puts the base in 4 bits. The checkpoint is a model that any command can load.
    """
    model_of(dropout=0.1).save_pretrained(folder / "base")

    def fresh() -> Any:
        model = GPT.load(folder / "base")
        if engine is not None:
            qlora.quantize_base(model, engine=engine)
        lora.apply_lora(model, config, seed=3)
        adapters.remember_base(model, folder / "base")
        return model

    whole_watch, rest_watch = Losses(), Losses()
    whole, run = fresh(), Run.create("sft", {}, root=folder)
    with run:
        trainer_of(whole, RECIPE, run, [whole_watch]).fit()
        run.finish("complete")
    checkpoint = load_checkpoint(run, 3)
    again = adapters.open_adapted(checkpoint.path).model
    trainer = trainer_of(again, RECIPE, None, [rest_watch])
    trainer.resume(checkpoint)
    trainer.fit()
    assert rest_watch.seen == whole_watch.seen[3:], (
        f"after the pause the losses are {rest_watch.seen}, without it {whole_watch.seen[3:]}: the base must come "
        "from its own file and A and B from theirs, not from the merged weights"
    )
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), f"{name} differs after a pause"

    from gpt_model.loading import load_model

    loaded = load_model(run.path).model
    assert type(loaded) is GPT
    expected, bound = logits(whole.eval()), 1e-5 if engine is None else 2e-2
    off = worst(logits(loaded), expected) / float(expected.abs().max())
    assert off <= bound, f"the run's checkpoint, loaded as a model, differs by {off:.1e}: it must hold W + ΔW"
