"""Looks on while preferences are learned: rewards and margins of each stretch, and all measures at each evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from finetuning.preference.data import EncodedPair
from finetuning.preference.measure import drift, measure_preferences
from finetuning.preference.objective import PreferenceObjective
from pretraining.callbacks import Callback


class Monitor(Callback):
    """Writes to metrics.jsonl: `split: pairs` for what was trained on, `split: judged` for the held-out pairs.

    KL and lengths are measured where the reference is a model that can be asked (`reference=online`); with a cached
    one they wait for the end of the run. `history` keeps the rows of the held-out pairs.
    """

    def __init__(
        self,
        objective: PreferenceObjective,
        judged: Sequence[EncodedPair],
        ends: tuple[int, ...] = (),
        *,
        drawn: int = 0,
        seed: int = 0,
    ) -> None:
        self.objective, self.judged, self.ends = objective, list(judged), ends
        self.drawn, self.seed = drawn, seed
        self.history: list[dict[str, Any]] = []

    def on_log(self, trainer: Any, record: dict[str, Any]) -> None:
        figures = self.objective.take()
        if figures:
            trainer.journal.metric(split="pairs", step=trainer.now.step, **figures)

    def on_evaluate(self, trainer: Any, result: Any) -> None:
        self.measure(trainer.model, trainer.now.step, trainer.journal.metric)

    def measure(self, model: Any, step: int, write: Any = None) -> dict[str, Any]:
        """One row of the history: the held-out pairs judged by `model` as it is now; once a step."""
        if self.history and self.history[-1]["step"] == step:
            return self.history[-1]
        score = measure_preferences(
            model,
            self.objective.reference,
            self.judged,
            per_token=self.objective.per_token,
            **self.objective.settings,
        )
        row = {"step": step, **score.to_dict()}
        row["accuracy"], row["likelier"] = score.accuracy.value, score.likelier.value
        row["by_reason"] = {reason: share.value for reason, share in score.by_reason.items()}
        reference = getattr(self.objective.reference, "model", None)
        if reference is not None and self.drawn:
            prompts = [each.prompt_ids for each in self.judged[: self.drawn]]
            row |= asdict(drift(model, reference, prompts, self.ends, seed=self.seed))
        self.history.append(row)
        if write is not None:
            write(split="judged", **row)
        return row
