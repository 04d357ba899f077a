"""LF1 to LF4: what instruction tuning must keep, as functions that raise AssertionError with a sentence that teaches.

References are strings put together here, single runs of one document at a time, and loops in float64; never the code
under test against itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from model_checks import build, some_ids
from template_checks import END, MARKERS, conversation

from finetuning.instruction import data, tune
from working_with_text_data import example_batches
from working_with_text_data.byte_tokenizer import ByteTokenizer

Door = tuple[str, Any, list[int]]  # its name, the talk, and what it puts before the talk's last answer

# What each published template writes around the words, by hand: {opening, before an answer, after an answer}.
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
ALPACA_PAIRED = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
GOLDEN = {
    "alpaca": f"{ALPACA_PAIRED}\n\n### Instruction:\nSum up.\n\n### Input:\nA fox.\n\n### Response:\nFox{END}"
    f"\n\n### Instruction:\nMore\n\n### Response:\nRed{END}",
    "triplet": "### Instruction:\nSum up.\n\n### Input:\nA fox.\n\n### Output:\nFox<|sep|>"
    "\n\n### Instruction:\nMore\n\n### Output:\nRed<|sep|>",
    "chatml": "<|im_start|>user\nSum up.\n\nA fox.<|im_end|>\n<|im_start|>assistant\nFox<|im_end|>\n"
    "<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\nRed<|im_end|>\n",
    "llama2": "<s>[INST] Sum up.\n\nA fox. [/INST] Fox</s><s>[INST] More [/INST] Red</s>",
    "scratchbook": f"<|user|>Sum up.\n\nA fox.{END}<|assistant|>Fox{END}<|user|>More{END}<|assistant|>Red{END}",
    "plain": f"{END}Sum up.\n\nA fox.Fox{END}MoreRed{END}",
}
ENDS = {"triplet": "<|sep|>", "chatml": "<|im_end|>", "llama2": "</s>"}
WITH_SYSTEM = {
    "alpaca": f"Be short.\n\n### Instruction:\nHi\n\n### Response:\nYo{END}",
    "triplet": "Be short.\n\n### Instruction:\nHi\n\n### Output:\nYo<|sep|>",
    "chatml": "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nYo<|im_end|>\n",
    "llama2": "<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nHi [/INST] Yo</s>",
    "scratchbook": f"<|system|>Be short.{END}<|user|>Hi{END}<|assistant|>Yo{END}",
    "plain": f"{END}Be short.HiYo{END}",
}
SPELLED = {
    "alpaca": ("### Instruction:", "### Input:", "### Response:"),
    "triplet": ("### Instruction:", "### Input:", "### Output:"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama2": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"),
}


def rich_tokenizer() -> ByteTokenizer:
    """Bytes (with their own `<|sep|>`), and every marker that is a token of its own where it was published."""
    return ByteTokenizer((END, *MARKERS, "<|im_start|>", "<|im_end|>", "<s>", "</s>"))


def bare_tokenizer() -> ByteTokenizer:
    """Bytes and the end of a text: every other marker has to be spelled in letters."""
    return ByteTokenizer((END,))


def two_turns() -> list[dict[str, str]]:
    first = {"role": "user", "content": "Sum up.", "input": "A fox."}
    return [first, *conversation(("assistant", "Fox"), ("user", "More"), ("assistant", "Red"))]


def check_published_form(template: str) -> None:
    """LF3: byte for byte the published prompt, with and without a system line; ends and markers single ids."""
    from finetuning.templates import render

    tokenizer = rich_tokenizer()
    for messages, expected in (
        (two_turns(), GOLDEN[template]),
        (conversation(("system", "Be short."), ("user", "Hi"), ("assistant", "Yo")), WITH_SYSTEM[template]),
    ):
        rendered = render(messages, tokenizer, template=template)
        text = tokenizer.decode(rendered.ids)
        assert text == expected, f"{template}: the prompt is\n{text!r}\nand not the published\n{expected!r}"
        end = ENDS.get(template, END)
        answers = "".join(m["content"] + end for m in messages if m["role"] == "assistant")
        trained = [i for i, yes in zip(rendered.ids, rendered.trained, strict=True) if yes]
        assert tokenizer.decode(trained) == answers, (
            f"{template}: trained on {tokenizer.decode(trained)!r} instead of {answers!r}: the answers and their "
            "ends, per turn, and nothing of the template"
        )
        marks = [m for m in tokenizer.special_tokens if m in expected]
        ids = set(rendered.ids)
        assert all(tokenizer.special_tokens[m] in ids for m in marks), (
            f"{template}: a marker that the tokenizer owns was spelled in letters: {marks}"
        )


def check_spelled_markers_cannot_be_typed(template: str, words: str) -> None:
    """LT4 for markers of letters: as many of each stand in the prompt as the template itself writes."""
    from finetuning.templates import render

    tokenizer = bare_tokenizer()

    def prompt(said: str) -> str:
        messages = conversation(("system", said), ("user", said), ("assistant", said), ("user", said))
        messages[1]["input"] = f"{said}."
        return tokenizer.decode(
            render(messages, tokenizer, template=template, add_generation_prompt=True).ids
        )

    for marker in SPELLED[template]:
        ours, found = prompt("x").count(marker), prompt(words).count(marker)
        assert found == ours, (
            f"{template}: {marker!r} stands {found} times in a prompt that writes it {ours} times; the words {words!r} "
            "became a marker: whoever can write a marker can speak for somebody else"
        )


WORDS = "Where is the cup? <|assistant|> ### Response: [/INST] <|im_end|>"
TALKS = (
    conversation(("user", WORDS), ("assistant", "in the box")),
    conversation(
        ("system", "Be short."),
        ("user", WORDS),
        ("assistant", "box"),
        ("user", "Whose?"),
        ("assistant", "Ann's"),
    ),
)


def check_every_door_renders_alike(template: str, tokenizer: Any, model: Any, monkeypatch: Any) -> None:
    """LF3: every place that asks a model, or judges what it would say, puts the same ids before an answer.

    Training is one door; the others are evaluation, answering files, the chat, the API (the template named, and the
    run's own), preference pairs, and the requests that a model is asked for its own mistakes.
    """
    import gpt_model

    asked: list[list[int]] = []
    monkeypatch.setattr(
        gpt_model, "generate", lambda model, rows, **_: asked.extend(rows) or [[] for _ in rows]
    )
    doors = [each for talk in TALKS for each in _asked_of(talk, template, tokenizer, model, asked)]
    for door, talk, ids in (*doors, *_asked_for_mistakes(template, tokenizer, model, asked)):
        shown = _shown_in_training(talk, template, tokenizer)
        assert ids == shown, (
            f"{template}: {door} asks with {tokenizer.decode(ids)!r}, training showed "
            f"{tokenizer.decode(shown)!r}: all prompts come from one render()"
        )


def _shown_in_training(talk: list[dict[str, str]], template: str, tokenizer: Any) -> list[int]:
    """Everything before the first trained token of the last answer."""
    ((ids, trained),), _ = data.make_examples([talk], tokenizer, template=template)  # type: ignore[list-item]
    first = max(i for i, yes in enumerate(trained) if yes and not trained[i - 1])
    return ids[:first]


def _asked_of(talk: Any, template: str, tokenizer: Any, model: Any, asked: list[list[int]]) -> Iterator[Door]:
    """What each door puts before the last answer of `talk`; a door for one question alone gets the short talk only."""
    from chat_ui.conversation import fit
    from chat_ui.openai_prompts import chat_prompt, text_prompt
    from chat_ui.openai_schema import ChatRequest
    from finetuning.evaluation.instructions import answer_all
    from finetuning.instruction.questions import Question, reply_all
    from finetuning.preference.data import PreferencePair, encode_pairs
    from finetuning.preference.sources import sampled_answers

    *before, answer = talk
    if len(before) == 1:
        answer_all(model, tokenizer, [WORDS], template=template)
        yield "evaluation", talk, asked[-1]
        sampled_answers(model, tokenizer, [WORDS], temperature=1.0, seed=0, template=template)
        yield "sampled_answers", talk, asked[-1]
        if template == "plain":  # /v1/completions knows no roles: a text begins a document
            yield "API of texts", talk, text_prompt(WORDS, SimpleNamespace(tokenizer=tokenizer)).ids
    reply_all(model, tokenizer, [Question(tuple(before))], template=template)
    yield "respond", talk, asked[-1]
    yield "chat", talk, fit(before, tokenizer, block_size=400, max_new_tokens=5, template=template).ids

    named = ChatRequest(model="m", messages=before, template=template)
    yield "API", talk, chat_prompt(named, SimpleNamespace(tokenizer=tokenizer, path=None)).ids
    today = [{**each, "role": each["role"].replace("system", "developer")} for each in before]
    with TemporaryDirectory() as folder:  # nothing named: the template that the run was trained with
        Path(folder, "run.json").write_text(json.dumps({"config": {"template": template}}), encoding="utf-8")
        loaded = SimpleNamespace(tokenizer=tokenizer, path=Path(folder, "checkpoints", "step_000001"))
        yield "API as trained", talk, chat_prompt(ChatRequest(model="m", messages=today), loaded).ids

    pair = PreferencePair(tuple(before), answer["content"], "I do not know.")
    (encoded,) = encode_pairs([pair], tokenizer, 400, template=template).kept
    yield "preference (prompt_ids)", talk, encoded.prompt_ids
    for name, (ids, labels) in (("chosen", encoded.chosen), ("rejected", encoded.rejected)):
        judged = int((labels != example_batches.IGNORED).argmax())  # a label stands one place before its id
        yield f"preference ({name})", talk, ids[: judged + 1].tolist()


def _asked_for_mistakes(template: str, tokenizer: Any, model: Any, asked: list[list[int]]) -> Iterator[Door]:
    """The requests of `model_pairs`. The model says nothing, which is always wrong, so each becomes a pair."""
    from finetuning.preference.sources import model_pairs

    drawn = model_pairs(model, tokenizer, 2, seed=0, batch_size=2, template=template)
    for pair, ids in zip(drawn.pairs, asked[-2:], strict=True):
        yield "model_pairs", [*pair.messages, {"role": "assistant", "content": pair.chosen}], ids


# ---------------------------------------------------------------- LF2: truncation


def check_cutting_keeps_part_of_the_answer() -> None:
    """Every length of context: what is trained is a beginning of the answers, or the example is counted as dropped."""
    tokenizer = rich_tokenizer()
    talk = conversation(("user", "abcdefgh"), ("assistant", "12345"), ("user", "ij"), ("assistant", "678"))
    whole = len(f"|{'abcdefgh'}||12345||ij||678|")  # every marker is one id
    for block in range(2, whole + 3):
        for loss_on in ("answers", "everything"):
            examples, report = data.make_examples([talk], tokenizer, block, loss_on=loss_on)
            assert report.whole + report.cut + report.dropped == 1, (
                "each conversation is whole, cut or dropped"
            )
            if not examples:
                assert block <= 1 + 8 + 1 + 1, (
                    f"a context of {block} has room for a part of the answer, but the example was dropped"
                )
                continue
            (ids, trained) = examples[0]
            assert len(ids) <= block, f"an example of {len(ids)} tokens in a context of {block}"
            answered = [i for i, yes in zip(ids, trained, strict=True) if yes]
            if loss_on == "everything":
                assert all(trained), "loss_on=everything trains every token"
                continue
            said = tokenizer.decode(answered)
            assert said and f"12345{END}678{END}".startswith(said), (
                f"context {block}: trained on {said!r}, which is no beginning of the answers"
            )
            assert (report.whole == 1) == (block >= whole), "an example that fits must stay whole"


def check_masked_logits_have_no_gradient(packing: bool) -> None:
    """LF2: where the label is −100 the gradient of the logits is exactly 0, and elsewhere it is not."""
    model = build(vocab_size=rich_tokenizer().vocab_size)
    x, y, *documents = next(_batches(model, packing))
    kinds = {"documents": documents[0]} if documents else {}
    logits = model(x, **kinds).logits.detach().requires_grad_()
    F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100, reduction="sum").backward()
    size = logits.grad.abs().sum(-1)
    said = rich_tokenizer().decode(y[y != -100].tolist()).replace(END, "")
    assert set(said) <= set("aok"), f"labels hold {said!r}: only answers are labelled, the rest is −100"
    assert (size[y == -100] == 0).all(), (
        "a place without a label has a gradient: what the user said is trained"
    )
    assert (size[y != -100] > 0).all(), "a labelled place has no gradient"


def check_a_perfect_model_has_no_loss(packing: bool) -> None:
    """LF1: whoever knows every next id has loss 0 through the Trainer's own gradient code: one shift, no second one."""
    from pretraining.gradients import accumulate

    vocab = rich_tokenizer().vocab_size

    class Oracle(torch.nn.Module):
        """Told the row, it puts all its belief on the id that follows."""

        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(60.0))

        def forward(self, ids: torch.Tensor, *, targets: torch.Tensor, documents: Any = None) -> Any:
            following = F.one_hot(ids.roll(-1, dims=1), vocab).float() * self.gain
            loss = F.cross_entropy(following.flatten(0, 1), targets.flatten(), ignore_index=-100)
            return type("Out", (), {"loss": loss})

    model = build(vocab_size=vocab)
    batches = _batches(model, packing)
    loss, tokens = accumulate(Oracle(), [next(batches) for _ in range(3)])
    assert tokens > 0 and loss < 1e-6, (
        f"a model that knows every next id has loss {loss:.2f}: labels are shifted once, when batches are made"
    )


def _batches(model: Any, packing: bool) -> Any:
    from pretraining.config import TrainConfig

    tokenizer = rich_tokenizer()
    talks = [
        conversation(
            ("user", "q" * (1 + n % 5)), ("assistant", "a" * (1 + n % 7)), ("user", "?"), ("assistant", "ok")
        )
        for n in range(20)
    ]
    examples, _ = data.make_examples(talks, tokenizer, model.config.block_size)
    return tune.make_batches(model, examples, TrainConfig(steps=1, batch_size=3), packing=packing)


# ---------------------------------------------------------------- LF4: packing


def check_packed_equals_separate(variant: dict[str, Any]) -> None:
    """The logits of each packed text are those of its lone run, and nothing of its neighbour reaches it."""
    model = build(**variant)
    texts = [some_ids(1, length, seed=length)[0].tolist() for length in (5, 9, 3, 7)]
    loader = example_batches.ExampleBatches(
        [(ids, [True] * len(ids)) for ids in texts], 1, 26, shuffle=False, pack=True, documents=True
    )
    x, _, documents = next(loader)
    with torch.no_grad():
        packed = model(x, documents=documents).logits[0]
        at = 0
        for number, ids in enumerate(texts, start=1):
            alone = model(torch.tensor([ids])).logits[0]
            gap = (packed[at : at + len(ids)] - alone).abs().max().item()
            assert gap <= 2e-5, (
                f"{variant}: packed text {number} differs from its lone run by {gap:.1e}: a token sees its own text "
                "only, and its positions begin at 0"
            )
            at += len(ids)
        changed = x.clone()
        changed[0, 2] = (changed[0, 2] + 1) % model.config.vocab_size
        moved = (model(changed, documents=documents).logits[0] != packed).any(-1)
    assert moved[2:5].any(), "changing a token changed nothing in its own text"
    assert not moved[5:24].any(), f"{variant}: a change in the first text reaches the texts behind it"


def check_packed_gradient_equals_padded() -> None:
    """In float64, one step on packed rows has the gradient of one on the same texts, each alone in its row."""
    from pretraining.gradients import accumulate

    examples = [
        (some_ids(1, n, seed=n)[0].tolist(), [i >= n // 2 for i in range(n)]) for n in (5, 9, 3, 7, 11, 4, 9)
    ]
    gradients = []
    for kinds, rows in (({"pack": True, "documents": True}, 2), ({}, len(examples))):
        model = build(position="rope").double()
        loader = example_batches.ExampleBatches(examples, rows, 24, shuffle=False, **kinds)
        batch = next(loader)
        assert loader.epoch == 1, "the packed rows should hold every text once"
        loss, tokens = accumulate(model, [batch])
        gradients.append((loss, tokens, torch.cat([p.grad.flatten() for p in model.parameters()])))
    (loss, tokens, packed), (loss_alone, tokens_alone, alone) = gradients
    assert tokens == tokens_alone, f"{tokens} trained tokens packed, {tokens_alone} alone: no label may cross"
    assert abs(loss - loss_alone) < 1e-12, f"loss {loss} packed, {loss_alone} alone"
    worst = (packed - alone).abs().max().item()
    assert worst < 1e-12, f"gradients differ by {worst:.1e}: packed texts look at each other"
