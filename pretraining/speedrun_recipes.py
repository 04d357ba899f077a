"""The speedrun's recipes: a plain GPT-2, then one change at a time, and a well-known recipe beside them.

The idea of a ladder: each rung is the one below it with *one* thing changed, so that the difference of two scores is
what that thing is worth, here, at this size, in this time. A change that costs more time than it saves loses, however
good it is a step. What was tried and not kept is in SPEEDRUN.md, with its number.
Left out on purpose: whatever is measured in steps. The clock is the only budget that counts all costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from utils.errors import UserError, closest, did_you_mean
from utils.files import sha256_bytes


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: what changes in the model and in the training, why that should help, who says so."""

    name: str
    what: str
    why: str
    paper: str
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """All that a run of the speedrun may choose: fields of `GPTConfig` and of `TrainConfig`."""

    name: str
    model: Mapping[str, Any]
    training: Mapping[str, Any]

    def changed(self, model: Mapping[str, Any], training: Mapping[str, Any]) -> Recipe:
        """The recipe with other settings, under a name that says that it is not the one of this file."""
        if not (model or training):
            return self
        name = self.name if self.name.endswith("*") else f"{self.name}*"
        return Recipe(name, {**self.model, **model}, {**self.training, **training})

    @property
    def hash(self) -> str:
        """Twelve digits that stand for the settings, whatever they are called and in whatever order."""
        settings = {"model": dict(self.model), "training": dict(self.training)}
        return sha256_bytes(json.dumps(settings, sort_keys=True).encode())[:12]


# What every recipe shares: the clock is not spent on looking, only the final score is.
QUIET: dict[str, Any] = {
    "log_every": 0,
    "log_update_ratio": False,
    "eval_every": 0,
    "save_every": 0,
    "eval_tokens": None,
    "prompts": [],
    "device": "cpu",
}

LADDER: tuple[Rung, ...] = (
    Rung(
        "plain",
        "GPT-2 in small: learned positions, LayerNorm, GELU, biases, a tied head; AdamW, cosine decay; float32",
        "where one begins; half of this rate does as well in 45 s, twice worse; shape and batch as in the next rungs",
        "Radford et al. 2019; Loshchilov & Hutter, arXiv 1711.05101",
        model={"n_layer": 4, "n_head": 6, "n_embd": 192, "block_size": 128, "attn_backend": "sdpa"},
        training={
            **QUIET,
            **{"batch_size": 24, "optimizer": "adamw", "lr": 3e-3, "schedule": "cosine", "warmup": 0.05},
            **{"beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip": 1.0},
            **{"dtype": "fp32", "exact_fast_matmul": False},
        },
    ),
    Rung(
        "fast-fp32",
        "float32 products through oneDNN, attention chosen by shape",
        "the same numbers sooner",
        "oneDNN; notebook 02",
        model={"attn_backend": "auto"},
        training={"exact_fast_matmul": True},
    ),
    Rung(
        "bf16",
        "the forward and backward pass in bf16 where the processor has it; weights and loss in float32",
        "products in bf16 are twice as fast on this processor, and noise of 0.4 % does not hurt",
        "Kalamkar et al., arXiv 1905.12322",
        training={"dtype": "auto"},
    ),
    Rung(
        "rope",
        "rotary positions in place of learned ones",
        "distance is there from the first step and need not be learned for each of 128 places",
        "Su et al., arXiv 2104.09864",
        model={"position": "rope"},
    ),
    Rung(
        "rmsnorm",
        "RMSNorm, and with it no biases",
        "less to compute and to learn, nothing lost",
        "Zhang & Sennrich, arXiv 1910.07467",
        model={"norm": "rmsnorm", "bias": False},
    ),
    Rung(
        "swiglu",
        "a gated feed-forward layer of as many parameters",
        "a product of two maps says what one map cannot",
        "Shazeer, arXiv 2002.05202",
        model={"mlp": "swiglu"},
    ),
    Rung(
        "muon",
        "Muon for the matrices inside the blocks, AdamW for the rest",
        "a step as long in every direction of a matrix, not only in the few that dominate its gradient",
        "Jordan et al. 2024; Bernstein & Newhouse, arXiv 2409.20325",
        training={"optimizer": "muon", "lr": 5e-3, "muon_lr": 0.03, "weight_decay": 0.0},
    ),
    Rung(
        "qk-norm",
        "queries and keys normalised, a head at a time",
        "attention cannot saturate, so the learning rate may stay high",
        "Henry et al., arXiv 2010.04245",
        model={"qk_norm": True},
    ),
    Rung(
        "zero-init",
        "the maps back into the stream begin at zero",
        "every block begins as the identity, and the first steps go into what a block adds",
        "Zhang et al., arXiv 1901.09321",
        model={"zero_init_out": True},
    ),
    Rung(
        "untied",
        "a head of its own, not the embedding used again",
        "what a character means and what speaks for it are two things; with 65 of them a second table costs nothing",
        "Press & Wolf, arXiv 1608.05859, who tie them",
        model={"tie_weights": False},
    ),
    Rung(
        "softcap",
        "logits within ± 15",
        "no logit runs away while the rate is high",
        "Gemma 2, arXiv 2408.00118",
        model={"logit_softcap": 15.0},
    ),
    Rung(
        "wsd",
        "a constant rate, and half of the time to cool down",
        "far from the end a high rate is best, and the last half pays for all the noise at once",
        "Hu et al., arXiv 2404.06395; Hägele et al., arXiv 2405.18392",
        training={"schedule": "wsd", "cooldown": 0.5, "warmup": 0.02},
    ),
    Rung(
        "narrow",
        "4 × 128 in place of 4 × 192",
        "half of the arithmetic, so nearly twice the text; it pays once optimizer and architecture learn from little",
        "Hoffmann et al., arXiv 2203.15556",
        model={"n_embd": 128, "n_head": 4},
    ),
    Rung(
        "batch",
        "16 sequences a step in place of 24",
        "more steps from the same text, until a step's fixed costs eat the gain",
        "McCandlish et al., arXiv 1812.06162",
        training={"batch_size": 16},
    ),
    Rung(
        "n-grams",
        "tables of the last two to five characters, added to the embedding",
        "what a word would say is looked up in place of being worked out; four rows a character cost no matrix product",
        "Pagnoni et al., arXiv 2412.09871, section 3.2.1",
        model={"ngram_rows": [4357, 16381, 32749, 32749]},
    ),
    Rung(
        "n-gram-dropout",
        "half of these look-ups left out in training",
        "from the second reading on, the rows know the text by heart",
        "Srivastava et al. 2014, JMLR 15",
        model={"ngram_dropout": 0.5},
    ),
    Rung(
        "rate",
        "four times the rate for tables, head and gains",
        "a row is touched seldom and must learn from few touches",
        "found here",
        training={"lr": 2e-2},
    ),
    Rung(
        "longer",
        "8 sequences of 256 in place of 16 of 128",
        "as much text a step, and half as many characters are judged with next to nothing before them",
        "Press et al., arXiv 2012.15832, on what such windows cost",
        model={"block_size": 256},
        training={"batch_size": 8},
    ),
)

# nanoGPT's recipe for this text, as its README gives it for a CPU (and, last, its shape for a GPU): an exact GELU,
# no biases, AdamW with beta2 0.99, 100 steps of warm-up, 2,000 steps, cosine decay to a tenth.
_KNOWN = Recipe(
    "known",
    {
        **{"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64, "bias": False, "mlp": "gelu"},
        "attn_backend": "sdpa",
    },
    {
        **QUIET,
        **{"batch_size": 12, "optimizer": "adamw", "lr": 1e-3, "min_lr": 1e-4, "schedule": "cosine"},
        **{"warmup": 0.05, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1, "clip": 1.0, "steps": 2000},
        **{"dtype": "fp32", "exact_fast_matmul": False},
    },
)
KNOWN: dict[str, Recipe] = {
    "known": _KNOWN,
    # the same with its decay over all of the time, where that is longer than 2,000 steps
    "known-whole-time": replace(
        _KNOWN, name="known-whole-time", training={k: v for k, v in _KNOWN.training.items() if k != "steps"}
    ),
    # its shape for a GPU (10.7 million parameters), in the time of this speedrun
    "known-large": Recipe(
        "known-large",
        {
            **_KNOWN.model,
            **{"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "dropout": 0.2},
        },
        {**{k: v for k, v in _KNOWN.training.items() if k != "steps"}, "batch_size": 64, "warmup": 0.02},
    ),
}


def ladder() -> list[Recipe]:
    """Every rung as a whole recipe, from the plain one to the best."""
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    found = []
    for rung in LADDER:
        model, training = {**model, **rung.model}, {**training, **rung.training}
        found.append(Recipe(rung.name, dict(model), dict(training)))
    return found


def recipe_named(name: str) -> Recipe:
    """A rung of the ladder, "best" (its top), or a known recipe; UserError with the list otherwise."""
    found = {recipe.name: recipe for recipe in ladder()} | KNOWN
    found["best"] = ladder()[-1]
    if name not in found:
        raise UserError(
            f"recipe is {name!r}: {did_you_mean(closest(name, found))}choose one of {', '.join(found)}"
        )
    return found[name]
