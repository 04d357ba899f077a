"""Laws of token scores, as functions that raise: what is shown of a token is what the model computes (LA9)."""

from __future__ import annotations

import numpy as np
import torch

from gpt_model import GPT, token_scores


@torch.no_grad()
def check_scores_by_definition(model: GPT, length: int, prompt_length: int = 3) -> None:
    """Each figure of each token equals a float64 loop that feeds the newest block_size ids before the token."""
    g = torch.Generator().manual_seed(length)
    text = torch.randint(model.config.vocab_size, (length,), generator=g).tolist()
    prompt, new = text[:prompt_length], text[prompt_length:]
    got = token_scores.score_tokens(model, prompt, new, alternatives=3)
    assert [score.id for score in got] == new
    for place, score in enumerate(got, start=prompt_length):
        window = text[max(0, place - model.config.block_size) : place]
        logits = model(torch.tensor([window])).logits[0, -1].double().numpy()
        p = np.exp(logits - logits.max())
        p /= p.sum()
        where = f"token {place} of {length}"
        assert abs(score.log_probability - np.log(p[text[place]])) < 1e-4, (
            f"{where} has {np.log(p[text[place]]):.5f} nats, shown are {score.log_probability:.5f}: the logits "
            "before a token judge it, not those at its own place"
        )
        assert score.rank == int((p > p[text[place]]).sum()) + 1, f"{where}: rank {score.rank}"
        assert abs(score.entropy + (p * np.log(p)).sum()) < 1e-4, f"{where}: entropy {score.entropy}"
        best = np.argsort(-p)[:3]
        assert [i for i, _ in score.alternatives] == best.tolist(), (
            f"{where}: alternatives {score.alternatives}"
        )
        assert np.allclose([v for _, v in score.alternatives], np.log(p[best]), atol=1e-4)
