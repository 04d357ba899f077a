"""What of a classifier learns, and what each label weighs: the two choices before the first step.

`tune` is `finetuning.trainable`'s: all, last-N, head (the new head alone, on features that stay as they are) or lora;
the new head always learns. Class weights "balanced" are n / (k · n_c), so that each label has the same share of the
loss and the mean weight of a training text is 1 (as in scikit-learn's `class_weight="balanced"`): the learning rate
keeps its meaning. Left out: other rates for other layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:
    from finetuning.classification.model import Classifier
    from finetuning.lora import LoRAConfig


def add_lora(model: Classifier, settings: Mapping[str, Any]) -> None:
    """Put an adapter with these settings on the body; the classifier remembers them, to be loaded by."""
    from finetuning.lora import LoRAConfig, apply_lora

    values = {**settings, "targets": tuple(settings["targets"])}
    apply_lora(model, LoRAConfig(**values))
    model.settings = replace(model.settings, lora=dict(values))


def choose_trainable(model: Classifier, tune: str, lora: LoRAConfig) -> tuple[int, int]:
    """Freeze all that `tune` does not name; returns (numbers that train, numbers in all). Raises UserError."""
    from finetuning.trainable import freeze_for

    if tune == "lora" and model.settings.lora is None:
        add_lora(model, asdict(lora))
    return freeze_for(model, tune)


def class_weights(wanted: str, labels: Sequence[str], numbers: Sequence[int]) -> tuple[float, ...] | None:
    """What each label's loss is multiplied with: "none", "balanced", or numbers such as "1,4" in the labels' order.

    >>> class_weights("balanced", ["ham", "spam"], [0, 0, 0, 1])
    (0.6666666666666666, 2.0)
    """
    if wanted == "none":
        return None
    counts = [list(numbers).count(i) for i in range(len(labels))]
    if wanted == "balanced":
        return tuple(len(numbers) / (len(labels) * count) for count in counts)
    try:
        given = tuple(float(part) for part in wanted.split(","))
    except ValueError:
        raise UserError(
            f"class_weights is {wanted!r}: choose none, balanced, or numbers such as 1,4"
        ) from None
    if len(given) != len(labels):
        raise UserError(f"class_weights is {wanted!r}: give {len(labels)} numbers, for {', '.join(labels)}")
    return given
