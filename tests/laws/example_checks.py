"""What batches of whole examples must keep, as functions that raise AssertionError."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from working_with_text_data import example_batches

PAD = 0


def numbered_examples(count: int = 17) -> list[tuple[list[int], list[bool]]]:
    """Example k is the ids 100·k + 1, + 2, …: every id says which example it is of and where it stood."""
    examples = []
    for number in range(1, count + 1):
        length = 3 + (5 * number) % 9
        question = 1 + number % (length - 1)
        ids = [100 * number + place for place in range(1, length + 1)]
        examples.append((ids, [place >= question for place in range(length)]))
    return examples


def check_labels_are_shifted_once(pack: bool) -> None:
    """A model that always knows the next id has loss 0, and what is trained is exactly what is marked."""
    examples = numbered_examples()
    loader = example_batches.ExampleBatches(examples, 4, 24, seed=1, pack=pack, pad_id=PAD)
    marked = {i for ids, mask in examples for i, yes in zip(ids, mask, strict=True) if yes}
    asked: list[int] = []
    while loader.epoch == 0:
        x, y = next(loader)
        assert (y != -100).any(), "a batch with nothing to learn"
        following = x + 1  # by construction of the examples
        logits = torch.full((*x.shape, 2000), -50.0)
        logits.scatter_(2, following.unsqueeze(2), 50.0)
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100)
        assert loss < 1e-6, (
            f"a model that knows every next id has loss {loss:.2f}: shift ids to labels exactly once"
        )
        asked += y[y != -100].tolist()
    assert set(asked) == marked, "the trained ids are not the marked ones: shift the mask with the ids"


def check_packing_keeps_examples_whole() -> None:
    """Each packed row is whole examples one behind the other, then padding; each comes once an epoch."""
    examples = numbered_examples(30)
    whole = {ids[0]: ids for ids, _ in examples}
    loader = example_batches.ExampleBatches(examples, 3, 24, seed=1, pack=True, pad_id=PAD)
    seen: list[int] = []
    while len(seen) < 2 * len(examples):
        x, y = next(loader)
        assert x.shape == (3, 24)
        for row, labels in zip(x.tolist(), y.tolist(), strict=True):
            at = 0
            while at < len(row) and row[at] != PAD:
                ids = whole.get(row[at])
                assert ids is not None, f"the row {row} does not begin with the begin of an example at {at}"
                assert row[at : at + len(ids)] == ids, f"example {ids} was cut in the row {row}"
                assert labels[at + len(ids) - 1] == -100, "an example predicts the first id of its neighbour"
                seen.append(ids[0])
                at += len(ids)
            assert set(row[at:]) <= {PAD} and set(labels[at:]) <= {-100}, "padding is trained on"
    first, second = seen[: len(examples)], seen[len(examples) : 2 * len(examples)]
    assert sorted(first) == sorted(second) == sorted(whole), "an epoch does not hold each example once"
    assert first != second and first != sorted(first), "the examples are not shuffled each epoch"
