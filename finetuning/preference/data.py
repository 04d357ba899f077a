"""Preference pairs as rows of ids: the same request twice, once with each answer.

A pair goes through `render()` like everything else. What is judged is the last answer and its end token: labels of
the request are −100, and so are those of earlier answers of a conversation, which both rows share. The shift from
ids to labels happens here, once (`example_batches.shift_labels`).

A batch of B pairs is 2B rows: rows 0 … B−1 are the chosen answers, rows B … 2B−1 the rejected ones of the same
pairs. One forward pass then sees both, which costs what two would and is one call (law LF8: the two ways are equal).

    ids      U how many ? E A 3 E . .        chosen           U user, A assistant, E end, "." padding
    labels   − −   −    − − 3 E − − −
    ids      U how many ? E A f o u r E      rejected

Left out: packing (a row here is short, and its log-probability is wanted alone), and pairs with more than two answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetuning.templates import Message, render
from utils.errors import UserError
from working_with_text_data.example_batches import IGNORED, shift_labels
from working_with_text_data.shuffling import shuffled
from working_with_text_data.tokenizer import Tokenizer

Row = tuple[NDArray[np.int64], NDArray[np.int64]]  # ids and labels, equally long, shifted


@dataclass(frozen=True)
class PreferencePair:
    """A conversation up to the request, a better and a worse answer to it.

    `kind` and `reason` say, where it is known, what was asked and what is wrong with the worse answer.
    """

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    kind: str = ""
    reason: str = ""

    @property
    def prompt(self) -> str:
        """The words of the last message: what the answers answer."""
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class EncodedPair:
    """One pair as two rows. `prompt_ids` is where both begin; the rows' labels hold the answers."""

    pair: PreferencePair
    prompt_ids: list[int]
    chosen: Row
    rejected: Row


@dataclass(frozen=True)
class EncodedPairs:
    """The pairs that can be learned from, and how many were left out for which reason."""

    kept: list[EncodedPair]
    too_long: int = 0  # one of the answers does not fit into the context beside the request
    equal: int = 0  # both answers are the same ids: nothing is preferred
    empty: int = 0  # the better answer says nothing

    def summary(self) -> dict[str, int]:
        """Counts, for run.json."""
        return {
            "pairs": len(self.kept),
            "too_long": self.too_long,
            "equal": self.equal,
            "empty": self.empty,
        }


def ask(prompt: str) -> tuple[Message, ...]:
    """One request as a conversation."""
    return ({"role": "user", "content": prompt},)


def encode_pair(pair: PreferencePair, tokenizer: Tokenizer, template: str = "scratchbook") -> EncodedPair:
    """Render both answers after the same request. Raises UserError as `render` does."""
    prompt = render(pair.messages, tokenizer, add_generation_prompt=True, template=template).ids
    rows = []
    for answer in (pair.chosen, pair.rejected):
        whole = render(
            [*pair.messages, {"role": "assistant", "content": answer}], tokenizer, template=template
        )
        if whole.ids[: len(prompt)] != prompt:
            raise UserError(
                f"template {template!r} writes the request otherwise when an answer follows it: "
                "choose another template"
            )
        judged = [t and place >= len(prompt) for place, t in enumerate(whole.trained)]
        rows.append((np.asarray(whole.ids, dtype=np.int64), shift_labels(whole.ids, judged)))
    return EncodedPair(pair, prompt, *rows)


def encode_pairs(
    pairs: Sequence[PreferencePair], tokenizer: Tokenizer, block_size: int, *, template: str = "scratchbook"
) -> EncodedPairs:
    """All pairs that a model of `block_size` tokens can judge whole; the others are counted, never cut.

    A cut answer would be judged by its beginning, and the end token, which says that it is over, would be missing.
    Raises UserError when no pair is left.
    """
    kept: list[EncodedPair] = []
    too_long = equal = empty = 0
    for pair in pairs:
        if not pair.chosen.strip():
            empty += 1
            continue
        encoded = encode_pair(pair, tokenizer, template)
        (chosen, _), (rejected, _) = encoded.chosen, encoded.rejected
        if max(len(chosen), len(rejected)) > block_size:
            too_long += 1
        elif np.array_equal(chosen, rejected):
            equal += 1
        else:
            kept.append(encoded)
    found = EncodedPairs(kept, too_long, equal, empty)
    if not kept:
        raise UserError(
            f"no preference pair is left of {len(pairs)}: {too_long} do not fit into {block_size} tokens, "
            f"{equal} have two equal answers, {empty} an empty better one: give others"
        )
    return found


def stack(pairs: Sequence[EncodedPair], pad_id: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs as one batch: (ids, labels), int64 (2B, T), the chosen answers above, the rejected ones below."""
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    width = max(len(ids) for ids, _ in rows)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    for r, (row_ids, row_labels) in enumerate(rows):
        ids[r, : len(row_ids)], labels[r, : len(row_ids)] = row_ids, row_labels
    return torch.from_numpy(ids), torch.from_numpy(labels)


class PairBatches:
    """An endless iterator of batches as `stack` makes them: the loaders' interface, exact resume.

    Each pair comes once an epoch, in an order that only `seed` and the epoch decide. `batch_size` counts pairs.
    Raises UserError for no pairs or a size below 1.
    """

    block_size = 1  # what the budget counts an epoch in: a step takes batch_size · 1 of the pairs

    def __init__(
        self, pairs: Sequence[EncodedPair], batch_size: int, *, seed: int = 0, shuffle: bool = True
    ) -> None:
        if not pairs or batch_size < 1:
            raise UserError(
                f"there are {len(pairs)} pairs and batch_size is {batch_size}: each must be 1 or more"
            )
        self.pairs, self.batch_size, self.seed, self.shuffle = list(pairs), batch_size, int(seed), shuffle
        self.epoch = self.position = 0

    @property
    def tokens_per_epoch(self) -> int:
        """The units of an epoch, see `block_size`: pairs."""
        return len(self.pairs)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        return stack([self.pairs[self._take()] for _ in range(self.batch_size)])

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe: the place in the data, and how many pairs it is a place in."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "pairs": len(self.pairs),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was taken. Raises UserError for other pairs."""
        for key in ("shuffle", "pairs"):
            if state.get(key) != self.state_dict()[key]:
                raise UserError(
                    f"the saved position is for {key} {state.get(key)}, the loader has "
                    f"{self.state_dict()[key]}: resume with the same pairs, or start a new run"
                )
        self.epoch, self.position, self.seed = state["epoch"], state["position"], state["seed"]

    def _take(self) -> int:
        count, at = len(self.pairs), self.position
        number = int(shuffled(np.array([at]), count, self.seed, self.epoch)[0]) if self.shuffle else at
        self.position += 1
        if self.position == count:
            self.epoch, self.position = self.epoch + 1, 0
        return number


def by_length(pairs: Sequence[EncodedPair], batch_size: int) -> list[list[EncodedPair]]:
    """Each pair once, in groups of nearly equal length, so that measuring pads little."""
    ordered = sorted(pairs, key=lambda p: max(len(p.chosen[0]), len(p.rejected[0])))
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
