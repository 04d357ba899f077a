"""What a comparison of two models must keep, for the laws and their mutations (LF9).

References are independent: simulated worlds whose difference is known, enumeration, brute force over all pairs of
places, scipy's quantiles. The proper claim, that tuning helps, is made on a model small enough to be tuned here.
"""

from __future__ import annotations

import itertools
import math
import random

import numpy as np

# ---------------------------------------------------------------- intervals


def worlds():
    """(won, tied, lost) shares: nothing between them, a small gain among many ties, a large one, noise."""
    return [(0.1, 0.8, 0.1), (0.1, 0.85, 0.05), (0.6, 0.35, 0.05), (0.4, 0.2, 0.4)]


def pairs_of(won: int, tied: int, lost: int) -> tuple[list[bool], list[bool]]:
    """Answers of two models with so many outcomes; half of the ties are both right."""
    before = [False] * won + [i % 2 == 0 for i in range(tied)] + [True] * lost
    after = [True] * won + [i % 2 == 0 for i in range(tied)] + [False] * lost
    return before, after


def check_intervals_hold_the_true_difference() -> None:
    """A 95 % interval holds the truth about as often as it says, and is not wider than the pairs make it."""
    from finetuning.evaluation import resampling

    chance = np.random.default_rng(0)
    for shares in worlds():
        truth, n, rounds = shares[0] - shares[2], 120, 250
        held, widths = 0, []
        for number in range(rounds):
            won, tied, lost = (int(k) for k in chance.multinomial(n, shares))
            found = resampling.paired_difference(*pairs_of(won, tied, lost), resamples=1500, seed=number)
            held += found.low <= truth <= found.high
            widths.append(found.high - found.low)
        assert held / rounds > 0.91, (
            f"with {shares} won, tied and lost the interval holds the truth in {held / rounds:.0%} of {rounds} worlds: "
            "it promises more than 95 % should"
        )
        variance = shares[0] + shares[2] - truth**2
        should = 2 * 1.96 * math.sqrt(variance / n)
        ratio = float(np.mean(widths)) / should
        assert 0.9 < ratio < 1.15, (
            f"with {shares} the interval is {ratio:.2f} times as wide as pairs make it: the same requests were asked "
            "of both models, so resample pairs, not two lists"
        )


def check_what_was_always_seen_is_not_certain() -> None:
    """Ten of ten does not make the next one certain, and the interval says so."""
    from finetuning.evaluation import resampling

    for n in (5, 10, 40):
        all_won = resampling.paired_difference([False] * n, [True] * n)
        assert all_won.value == 1 and all_won.low < 1 - 0.5 / n, (
            f"{n} of {n} won gave the interval from {all_won.low:.3f}: a bootstrap of what was seen cannot imagine "
            "what it has not seen; add half a pair to each outcome"
        )
        assert all_won.low > 0, f"{n} of {n} won is better than nothing"
        none = resampling.paired_difference([True] * n, [True] * n)
        assert none.low < 0 < none.high, f"no difference in {n} pairs does not prove that there is none"


def check_the_difference_is_of_the_tuned_over_the_base() -> None:
    """More right answers afterwards are a positive difference, a win rate above one half, and wins."""
    from finetuning.evaluation import resampling

    before, after = pairs_of(30, 60, 10)
    gap, win = resampling.paired_difference(before, after), resampling.win_rate(before, after)
    assert abs(gap.value - 0.2) < 1e-12 and gap.low > 0, (
        "30 won and 10 lost of 100 are 20 points better, not worse"
    )
    assert (win.wins, win.ties, win.losses) == (30, 60, 10), "won, tied, lost: the tuned model's view"
    assert abs(win.rate.value - 0.6) < 1e-12, "30 wins and half of 60 ties are 60 of 100"
    assert gap.low <= gap.value <= gap.high
    own = resampling.paired_difference(after, before)
    assert abs(own.value + gap.value) < 1e-12, "the other way round it is as much worse"


def check_sign_test_is_the_enumeration() -> None:
    """Of all ways a fair coin can fall, the share at least as one-sided."""
    from finetuning.evaluation import resampling

    for wins, losses in [(0, 0), (3, 0), (5, 1), (4, 4), (2, 7), (9, 3)]:
        n = wins + losses
        gap = abs(wins - losses)
        falls = [abs(2 * sum(way) - n) >= gap for way in itertools.product((0, 1), repeat=n)]
        wanted = sum(falls) / len(falls)
        found = resampling.sign_test(wins, losses)
        assert abs(found - wanted) < 1e-12, (
            f"{wins} won and {losses} lost: p is {wanted:.4f} by counting all falls of the coin, not {found:.4f}; "
            "both sides count, and ties do not"
        )


def check_seeds_are_students() -> None:
    """The interval over seeds is Student's: three runs know their spread badly, and the factor is 4.3, not 1.96."""
    from scipy import stats

    from finetuning.evaluation import resampling

    for values in ([0.90, 0.94, 0.92], [0.5, 0.7], [0.1, 0.2, 0.4, 0.3, 0.15], list(np.linspace(0, 1, 25))):
        found = resampling.over_seeds(values)
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert abs(found.low - low) < 1e-3 and abs(found.high - high) < 1e-3, (
            f"{len(values)} seeds {values[:5]}: the interval is {low:.4f} to {high:.4f}, not {found.low:.4f} to "
            f"{found.high:.4f}; so few runs need Student's t and the deviation over n - 1"
        )


# ---------------------------------------------------------------- contamination

WORDS = ("the", "cat", "saw", "a", "dog", "near")  # few, so that runs are shared by chance


def _texts(seed: int, count: int, longest: int) -> list[str]:
    dice = random.Random(seed)
    return [" ".join(dice.choices(WORDS, k=dice.randint(1, longest))) for _ in range(count)]


def _shared_places(text: list[str], train: list[list[str]], n: int) -> list[bool]:
    """Brute force: each word of a held-out text that lies in a run of n words found in a training text."""
    size = min(n, len(text))
    hit = [False] * len(text)
    for at in range(len(text) - size + 1):
        run = text[at : at + size]
        for other in train:
            if any(other[i : i + size] == run for i in range(len(other) - size + 1)):
                hit[at : at + size] = [True] * size
    return hit


def check_shared_words_are_found() -> None:
    """Every run of n shared words, and nothing else: against brute force on random texts, whatever their order."""
    from finetuning.evaluation.contamination import contamination

    for n in (1, 3, 5):
        train, held_out = _texts(n, 12, 14), _texts(100 + n, 20, 12)
        found = contamination(train, held_out, n=n)
        for number, text in enumerate(held_out):
            words = text.split()
            hit = _shared_places(words, [t.split() for t in train], n)
            wanted = sum(hit) / len(hit)
            assert abs(found.covered[number] - wanted) < 1e-12, (
                f"{text!r} has {wanted:.2f} of its words in a shared run of {n}, not {found.covered[number]:.2f}: "
                "look at the first and the last run, and at texts shorter than n"
            )
            assert found.exact[number] == (text in train)
        again = contamination(train[::-1], held_out, n=n)
        assert again.covered == found.covered, "the order of the training texts does not matter"


def check_a_copy_is_found_in_other_clothes() -> None:
    """Case and punctuation do not hide a copied question; a question that merely shares a few words is not one."""
    from finetuning.evaluation.contamination import contamination

    asked = ["Count the things: kite, drum.", "Who gave the red ball to the tall man near the gate?"]
    train = ["count THE things - kite; drum!", "Yesterday he gave the red ball to nobody."]
    found = contamination(iter(train), asked, n=8)
    assert found.exact == [True, False], "the same words are the same question, whatever their case and marks"
    assert found.shared == [True, False], "five words in a row are no eight"
    assert contamination(iter(train), asked, n=5).shared == [True, True]
    assert contamination([], asked).covered == [0.0, 0.0] and contamination(train, ["?!"]).covered == [0.0]


# ---------------------------------------------------------------- prompting


def check_shown_examples_are_never_held_out() -> None:
    """The prompted row may learn from its prompt, not from the questions."""
    from finetuning.evaluation import prompting
    from working_with_text_data.storyland.tasks import KINDS, held_out

    shown = prompting.shown_examples(KINDS, 8, seed=3)
    for kind in KINDS:
        assert len(shown[kind]) == 8 and {e.kind for e in shown[kind]} == {kind}
        leaked = [e.prompt for e in shown[kind] if held_out(e.prompt)]
        assert not leaked, (
            f"{leaked[0]!r} is held out and was shown with its answer: take examples from what may be trained on"
        )


def check_the_prompt_is_a_document_that_ends_where_the_answer_belongs(tokenizer) -> None:
    """What the base reads: the end token, then plain text; fewer examples where there is no room, never half a one."""
    import torch

    from finetuning.evaluation import prompting
    from working_with_text_data.storyland.tasks import Instruction

    end = tokenizer.special_tokens["<|endoftext|>"]
    seen: list[list[int]] = []

    class Config:
        block_size = 150

    class Model:
        config = Config()

    def generate(model, rows, *, max_new_tokens, sampling, stop_ids):
        seen.extend(list(row) for row in rows)
        assert all(len(row) + max_new_tokens <= 150 for row in rows), "the answer must fit behind the prompt"
        return [list(tokenizer.encode_ordinary(" right\nQuestion: more")) for _ in rows]

    import gpt_model

    original = gpt_model.generate
    gpt_model.generate = generate
    try:
        asked = Instruction("past", "What is the past tense of go, and of see?", "went, saw")
        examples = [Instruction("past", f"What is the past tense of word{i}?", "x") for i in range(6)]
        (answer,) = prompting.prompted_answers(
            Model(), tokenizer, [asked], shots=6, examples=examples, max_new_tokens=20
        )
    finally:
        gpt_model.generate = original
    assert answer == "right", f"an answer ends with its line, but {answer!r} goes on"
    (ids,) = seen
    assert ids[0] == end and end not in ids[1:], "a document begins with the end token, as in pretraining"
    text = tokenizer.decode(ids[1:]).strip()
    kept = text.count("Question:") - 1
    assert 0 < kept < 6, f"{kept} examples of 6 were shown: as many as leave the answer its room"
    assert text == prompting.few_shot_text(examples[:kept], asked.prompt), "whole examples, then the request"
    assert torch.tensor(ids).max() < tokenizer.vocab_size


# ---------------------------------------------------------------- it got better

TAUGHT = ("count", "past")


def taught_world():
    """(tokenizer, base model, tuned model, held-out requests): two kinds of requests, learned in seconds."""
    import torch

    from finetuning.instruction.tune import tune
    from finetuning.templates import render
    from gpt_model import GPT, GPTConfig
    from pretraining.config import TrainConfig
    from pretraining.recipe import SPECIAL_TOKENS
    from utils.runs import Run
    from working_with_text_data import story_corpus, train_bpe
    from working_with_text_data.storyland.tasks import held_out, instructions

    taught = (r for r in instructions(1) if r.kind in TAUGHT)
    train, asked = [], {}
    for request in taught:
        if held_out(request.prompt):
            asked[request.prompt] = request
        else:
            train.append(request)
        if len(train) >= 3000:
            break
    texts = [*story_corpus(n_stories=30, seed=4), *(f"{r.prompt} {r.answer}" for r in train[:1500])]
    tokenizer = train_bpe(texts, 620, special_tokens=SPECIAL_TOKENS, prefix_space=True)
    shape = {
        "block_size": 128,
        "n_layer": 2,
        "n_head": 4,
        "n_embd": 48,
        "position": "rope",
        "norm": "rmsnorm",
    }
    torch.manual_seed(0)
    base = GPT(
        GPTConfig(
            vocab_size=tokenizer.vocab_size,
            **shape,
            bias=False,
            tie_weights=False,
            embedding_std=1.0,
            mlp="swiglu",
        )
    )
    examples = []
    for request in train:
        messages = [
            {"role": "user", "content": request.prompt},
            {"role": "assistant", "content": request.answer},
        ]
        rendered = render(messages, tokenizer)
        examples.append((rendered.ids, rendered.trained))
    config = TrainConfig(
        steps=200, batch_size=10, optimizer="muon", lr=5e-3, muon_lr=0.03, warmup=0.05, weight_decay=0.0,
        eval_every=0, save_every=0, log_every=0, prompts=[], device="cpu", dtype="fp32", seed=0,
    )  # fmt: skip
    tuned = GPT(base.config)
    tuned.load_state_dict(base.state_dict())
    return (
        tokenizer,
        base,
        tuned,
        list(asked.values())[:120],
        lambda root: tune(
            tuned, tokenizer, examples[60:], examples[:60], config, Run.create("sft", {}, root=root)
        ),
    )


def check_tuning_helps_over_the_base_and_over_prompting(world) -> None:
    """LF9: on requests that nobody trained on, the tuned model is better than both, and the interval says surely."""
    from finetuning.evaluation import instructions, prompting, resampling

    tokenizer, base, tuned, asked = world
    after = instructions.exact_match(tuned.eval(), tokenizer, asked)
    before = instructions.exact_match(base.eval(), tokenizer, asked)
    shown = prompting.prompted_answers(base, tokenizer, asked, shots=1, max_new_tokens=12)
    prompted = instructions.judge(asked, shown)
    for name, other in (("the base", before), ("prompting", prompted)):
        gap = resampling.paired_difference(
            [a.correct for a in other.answers], [a.correct for a in after.answers], resamples=2000
        )
        assert gap.low > 0.2, (
            f"tuned {after.overall}, {name} {other.overall}; "
            f"the difference of {gap.value:.2f} begins at {gap.low:.2f}: "
            "was the model asked in the words it was trained in, and were the answers cut at their end?"
        )


def check_a_results_file_says_better(figures: dict) -> None:
    """The measured claim: for every seed the tuned model is surely better than the base and than prompting."""
    for seed, gaps in figures["differences"].items():
        for pair in ("sft over base", "sft over prompted"):
            gap = gaps[pair]
            assert gap["low"] > 0, (
                f"seed {seed}: {pair} begins at {gap['low']:+.3f}: it is not shown to be better"
            )
