"""Chapter 6: pretraining. A loop you can read, stop at any moment and resume to the last bit.

Names are loaded on first use (PEP 562), so importing the package costs no torch import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "TrainConfig": "config",
    "PretrainConfig": "config",
    "Trainer": "trainer",
    "TrainResult": "trainer",
    "Callback": "callbacks",
    "train": "train",  # the command's module, which is callable: train(config) -> Run
    "prepare_data": "recipe",
    "save_checkpoint": "checkpoints",
    "load_checkpoint": "checkpoints",
    "CheckpointError": "checkpoints",
    "EvalBatches": "evaluation",
    "EvalResult": "evaluation",
    "evaluate": "evaluate",  # the command's module, which is callable: evaluate(model, batches) -> EvalResult
    "unigram_baseline": "baselines",
    "bigram_baseline": "baselines",
    "OBJECTIVES": "objectives",
    "OPTIMIZERS": "optimizers",
    "SCHEDULES": "schedules",
    "register": "registries",
}
__all__ = [
    "OBJECTIVES",
    "OPTIMIZERS",
    "SCHEDULES",
    "Callback",
    "CheckpointError",
    "EvalBatches",
    "EvalResult",
    "PretrainConfig",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "bigram_baseline",
    "evaluate",
    "load_checkpoint",
    "prepare_data",
    "register",
    "save_checkpoint",
    "train",
    "unigram_baseline",
]

if TYPE_CHECKING:
    from pretraining.baselines import bigram_baseline, unigram_baseline
    from pretraining.callbacks import Callback
    from pretraining.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
    from pretraining.config import PretrainConfig, TrainConfig
    from pretraining.evaluation import EvalBatches, EvalResult, evaluate
    from pretraining.objectives import OBJECTIVES
    from pretraining.optimizers import OPTIMIZERS
    from pretraining.recipe import prepare_data, train
    from pretraining.registries import register
    from pretraining.schedules import SCHEDULES
    from pretraining.trainer import Trainer, TrainResult


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pretraining' has no attribute {name!r}; it has {', '.join(_HOME)}")
    module = import_module(f"pretraining.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(_HOME)
