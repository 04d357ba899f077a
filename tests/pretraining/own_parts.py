"""What a reader might bring: one function of each kind, named in configs as `own_parts:…` by the tests."""

import torch
import torch.nn.functional as F

from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.documents import Document

SEEN: list[str] = []
NOT_A_FUNCTION = 3


def signs(model, config):
    """An optimizer of torch's that is in no table."""
    return torch.optim.Rprop([p for p in model.parameters() if p.requires_grad], lr=config.lr)


def halves(q, phase):
    return 1.0 if q < 0.5 else 0.5


def smoothed(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)


def counting(config):
    for i in range(60):
        text = " ".join(str(n) for n in range(i, i + 30))
        yield text if i % 2 else Document(text, "counting", i)


def bytes_only(texts, config):
    SEEN.append(f"tokenizer saw {len(list(texts)) > 0}")
    return ByteTokenizer()


def wrong(config):
    yield 5


def nothing(config):
    return []
