"""Looks on while preferences are learned: rewards and margins of each stretch, and all measures at each evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from finetuning.preference.data import EncodedPair
from finetuning.preference.measure import Drift, PreferenceScore, drift, measure_preferences
from finetuning.preference.objective import PreferenceObjective
from pretraining.callbacks import Callback
from utils.seeding import preserved_rng


class Monitor(Callback):
    """Writes to metrics.jsonl: `split: pairs` for what was trained on, `split: judged` for the held-out pairs.

    Each evaluation also draws answers to the first `drawn` held-out requests, for their length and their KL. KL needs
    the reference as a model: the objective's own where it keeps one, else what `reference()` loads, dropped again
    after the evaluation; with neither there are lengths alone. `history` keeps the rows of the held-out pairs,
    `score` and `drifted` what the newest of them came from.
    """

    def __init__(
        self,
        objective: PreferenceObjective,
        judged: Sequence[EncodedPair],
        ends: tuple[int, ...] = (),
        *,
        drawn: int = 0,
        seed: int = 0,
        reference: Callable[[], Any] | None = None,
    ) -> None:
        self.objective, self.judged, self.ends = objective, list(judged), ends
        self.drawn, self.seed, self.reference = drawn, seed, reference
        self.history: list[dict[str, Any]] = []
        self.score: PreferenceScore | None = None
        self.drifted: Drift | None = None

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
        score = self.score = measure_preferences(
            model,
            self.objective.reference,
            self.judged,
            per_token=self.objective.per_token,
            **self.objective.settings,
        )
        row = {"step": step, **score.to_dict()}
        row["accuracy"], row["likelier"] = score.accuracy.value, score.likelier.value
        row["by_reason"] = {reason: share.value for reason, share in score.by_reason.items()}
        if self.drawn:
            row |= self._drift(model)
        self.history.append(row)
        if write is not None:
            write(split="judged", **row)
        return row

    def _drift(self, model: Any) -> dict[str, Any]:
        """Lengths of drawn answers, and KL where there is a reference that can be asked about them."""
        reference = getattr(self.objective.reference, "model", None)
        if reference is None and self.reference is not None:
            with preserved_rng():  # a model that is loaded draws its first weights
                reference = self.reference()
        prompts = [each.prompt_ids for each in self.judged[: self.drawn]]
        if reference is None:
            # its own reference: the answers are the same ones, and KL would be an empty 0
            alone = drift(model, model, prompts, self.ends, seed=self.seed)
            return {"length": alone.length, "answers": alone.answers}
        reference.to(next(model.parameters()).device)  # an online one was last asked about rows of the CPU
        self.drifted = drift(model, reference, prompts, self.ends, seed=self.seed)
        return asdict(self.drifted)
