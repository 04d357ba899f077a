"""Laws of beam search, as functions that raise: the part of LG8 about the likeliest text.

References: greedy by hand without a cache, all texts of a toy enumerated, and transformers' own beam search on the
weights that we import.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from model_checks import some_ids
from sampling_checks import greedy_by_hand

from gpt_model import GPT, GPTConfig, Sampling, generate
from gpt_model.beam import Beam, Hypothesis, beam_search


@torch.no_grad()
def log_probability(model: GPT, prompt: list[int], new: list[int]) -> float:
    """Of the new ids after the prompt, in one pass without a cache, summed in float64."""
    logits = model(torch.tensor([prompt + new[:-1]])).logits[0, len(prompt) - 1 :].double()
    return float(logits.log_softmax(-1)[range(len(new)), new].sum())


@torch.no_grad()
def chain_model(table: list[list[float]], block_size: int = 32) -> GPT:
    """A GPT in which the next token depends on the last one only, with the probabilities of ``table``.

    Every block gives 0; the head is solved for so that the norm of a token's embedding becomes its row of logits.
    """
    vocab = len(table)
    model = GPT(
        GPTConfig(vocab_size=vocab, block_size=block_size, n_layer=1, n_head=1, n_embd=2 * vocab, tie_weights=False)
    ).eval()  # fmt: skip
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if name == "final_norm.weight" else 0.0)
    model.token_embedding.weight[:, :vocab] = torch.eye(vocab)
    seen = model.final_norm(model.token_embedding.weight).double()  # (V, n_embd)
    wanted = torch.tensor(table, dtype=torch.float64).log()
    # Not linalg.lstsq: its default driver on a CPU reads stale memory and now and then finds a rank too small
    # (github.com/pytorch/pytorch/issues/187411).
    model.head.weight.copy_((torch.linalg.pinv(seen) @ wanted).T)
    shown = model(torch.arange(vocab)[None]).logits[0].softmax(-1)
    assert torch.allclose(shown, torch.tensor(table), atol=1e-4), f"the chain model gives {shown.tolist()}"
    return model


# After 0, token 1 is likeliest, but what follows it is a lottery; behind 2 waits a sure thing.
TRAP = [[0.02, 0.5, 0.4, 0.08], [0.25, 0.25, 0.25, 0.25], [0.01, 0.01, 0.01, 0.97], [0.1, 0.2, 0.3, 0.4]]


def check_width_one_is_greedy(model: GPT) -> None:
    """With one beam the search takes every step's argmax: prompts of different lengths, with stop ids and rules."""
    vocab = model.config.vocab_size
    prompts = [some_ids(1, n, vocab=vocab, seed=n)[0].tolist() for n in (5, 1, 9)]
    alone = [greedy_by_hand(model, torch.tensor([prompt]), 12)[0] for prompt in prompts]
    for stop_ids in ((), (alone[0][3],), (alone[1][0], alone[2][5])):
        found = beam_search(model, prompts, Beam(width=1), max_new_tokens=12, stop_ids=stop_ids)
        for prompt, [best], expected in zip(prompts, found, alone):
            end = next((i for i, token in enumerate(expected) if token in stop_ids), None)
            assert best.ids == expected[:end], (
                f"width 1 after {prompt} gives {best.ids}, greedy {expected[:end]}"
            )
            assert best.finish_reason == ("length" if end is None else "stop")
    rules = Sampling(temperature=0.0, no_repeat_ngram_size=2, repetition_penalty=1.4, presence_penalty=0.3)
    found = beam_search(model, prompts, Beam(width=1, sampling=rules), max_new_tokens=12)
    expected_rows = generate(model, prompts, max_new_tokens=12, sampling=rules)
    got = [best.ids for [best] in found]
    assert got == expected_rows, f"under {rules} width 1 gives {got}, greedy {expected_rows}"


def check_search_escapes_the_trap() -> None:
    """Two beams find the text that greedy misses, and no width finds one less likely than greedy's here."""
    model = chain_model(TRAP)
    greedy = greedy_by_hand(model, torch.tensor([[0]]), 2)[0]
    assert greedy[0] == 1, f"the trap should lure greedy to token 1, not {greedy}"
    least = log_probability(model, [0], greedy)
    for width in (1, 2, 3, 4):
        [[best]] = beam_search(model, [[0]], Beam(width=width), max_new_tokens=2)
        assert best.log_probability >= least - 1e-6, (
            f"width {width} found {best.ids} at {best.log_probability:.3f} nats, greedy has {least:.3f}"
        )
        assert best.ids == [2, 3] or width == 1, f"width {width} found {best.ids}; [2, 3] is likelier"


def check_full_width_is_exhaustive(model: GPT, new: int = 4) -> None:
    """When every beginning is kept, the best text of all is found, for any length penalty and any stop id."""
    vocab, prompt = model.config.vocab_size, [1, 0]
    for penalty, stop in itertools.product((0.0, 0.5, 1.0, 2.0), (None, 0, vocab - 1)):
        everything: list[tuple[float, list[int]]] = []
        for text in itertools.product(range(vocab), repeat=new):
            ids = list(text)
            if stop in ids:
                ids = ids[: ids.index(stop) + 1]
            total = log_probability(model, prompt, ids)
            everything.append((total / len(ids) ** penalty, ids))
        best_score, best_ids = max(everything)
        beam = Beam(width=vocab**new, length_penalty=penalty, early_stopping="never")
        [[found]] = beam_search(
            model, [prompt], beam, max_new_tokens=new, stop_ids=() if stop is None else (stop,)
        )
        assert abs(found.score - best_score) < 1e-5, (
            f"length_penalty {penalty}, stop id {stop}: keeping every beginning found {found.ids} with score "
            f"{found.score:.5f}, but of all texts {best_ids} is best with {best_score:.5f}"
        )


def check_scores_are_the_models(model: GPT) -> None:
    """Each text's log-probability is what one pass without a cache gives; scores follow and fall; prompts are apart."""
    vocab = model.config.vocab_size
    prompts = [some_ids(1, n, vocab=vocab, seed=n)[0].tolist() for n in (7, 2, 4)]
    beam = Beam(width=4, n_best=4, length_penalty=0.7)
    found = beam_search(model, prompts, beam, max_new_tokens=9)
    for prompt, texts in zip(prompts, found):
        assert len({tuple(each.ids) for each in texts}) == 4, f"the same text was found twice: {texts}"
        for each in texts:
            expected = log_probability(model, prompt, each.ids)
            assert abs(each.log_probability - expected) < 1e-4, (
                f"{each.ids} after {prompt} has {expected:.5f} nats, the search says {each.log_probability:.5f}: its "
                "cache holds another beam's tokens, or the padding is seen"
            )
            assert abs(each.score - each.log_probability / len(each.ids) ** 0.7) < 1e-6
        scores = [each.score for each in texts]
        assert scores == sorted(scores, reverse=True), f"not best first: {scores}"
        [alone] = beam_search(model, [prompt], beam, max_new_tokens=9)
        assert [each.ids for each in alone] == [each.ids for each in texts], (
            f"{prompt} differs alone and in a batch"
        )


def check_equals_transformers(reference: Any, folder: Path) -> None:
    """Texts and scores equal transformers' beam search on the same weights: widths, penalties, early ends, padding."""
    model = GPT.from_pretrained(str(folder)).eval()
    vocab, new = model.config.vocab_size, 10
    prompts = [some_ids(1, n, vocab=vocab, seed=n)[0].tolist() for n in (6, 6, 3, 1)]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    greedy = [greedy_by_hand(model, torch.tensor([row]), new)[0] for row in prompts]
    ends = ((greedy[0][2],), (greedy[1][1], greedy[2][4]), (vocab - 1,))
    for width, penalty, early, stop_ids in itertools.product(
        (2, 5), (0.0, 1.0, 2.5, -0.5), (False, True, "never"), ends
    ):
        theirs = reference.generate(
            ids, attention_mask=mask, max_new_tokens=new, num_beams=width, num_return_sequences=width,
            length_penalty=penalty, early_stopping=early, eos_token_id=list(stop_ids), pad_token_id=0,
            do_sample=False, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        beam = Beam(width, penalty, early, n_best=width)
        ours = beam_search(model, prompts, beam, max_new_tokens=new, stop_ids=stop_ids)
        flat = [each for texts in ours for each in texts]
        for i, (each, row, score) in enumerate(
            zip(flat, theirs.sequences[:, longest:].tolist(), theirs.sequences_scores.tolist(), strict=True)
        ):
            end = next((at for at, token in enumerate(row) if token in stop_ids), len(row))
            where = f"{beam}, stop ids {stop_ids}, prompt {i // width}, text {i % width}"
            assert abs(each.score - score) < 1e-4, (
                f"{where}: score {each.score:.5f}, transformers has {score:.5f}"
            )
            assert each.ids == row[:end], f"{where}: {each.ids}, transformers has {row[:end]}"


def check_search_ends(model: GPT) -> None:
    """A full block ends a text, alone or beside others; a prompt that leaves no room raises; a stop event ends it."""
    block = model.config.block_size
    prompts = [some_ids(1, n, vocab=model.config.vocab_size, seed=n)[0].tolist() for n in (block - 3, 2)]
    found = beam_search(model, prompts, Beam(width=2), max_new_tokens=9, on_overflow="stop")
    lengths = [len(best.ids) for [best] in found]
    assert lengths == [4, 9], f"texts of {lengths} tokens: the block has room for 4 after the first prompt"
    for prompt, [best] in zip(prompts, found):
        assert abs(best.log_probability - log_probability(model, prompt, best.ids)) < 1e-4
    assert beam_search(model, prompts, max_new_tokens=0) == [[Hypothesis([], 0.0, 0.0, "length")]] * 2


def check_banned_tokens_are_not_found(model: GPT) -> None:
    """Rules hold in every beam: no bad word, no early end, no id beyond the limit."""
    stop = 3
    rules = Sampling(bad_words=[(1, 2), (5,)], vocab_limit=9, min_new_tokens=4)
    beam = Beam(width=6, n_best=6, sampling=rules)
    for each in beam_search(model, [[1]], beam, max_new_tokens=8, stop_ids=(stop,))[0]:
        text = [1, *each.ids]
        assert 5 not in each.ids and (1, 2) not in list(itertools.pairwise(text)), (
            f"a bad word stands in {each.ids}"
        )
        assert max(each.ids) < 9, f"{each.ids} holds an id beyond vocab_limit"
        assert len(each.ids) >= 4, f"{each.ids} ended before min_new_tokens"
