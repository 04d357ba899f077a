"""Templates that others have published, so that their data and their models can be used here.

    alpaca    a preamble, ### Instruction:, ### Input:, ### Response:       Taori et al. 2023 (Stanford Alpaca)
    triplet   ### Instruction:, ### Input:, ### Output: … <|sep|>          the plain form of many small projects
    chatml    <|im_start|>user … <|im_end|>                                OpenAI 2023; Qwen, SmolLM
    llama2    <s>[INST] <<SYS>> … <</SYS>> … [/INST] … </s>                Touvron et al. 2023 (arXiv 2307.09288)

Each message is written by itself, so that a prompt is always the beginning of its training example. An answer and
the end behind it are trained, nothing else. Markers the tokenizer owns are single ids, the others are letters
(`template_registry.Pen`). Deliberately different from the published forms: words are not stripped of blanks;
Llama-2's blank before `</s>` is left out, because a model would have to write it before it can stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetuning.template_registry import (
    END,
    MARKS,
    Message,
    Pen,
    Piece,
    TextTokenizer,
    register,
    words_of,
)

PREAMBLE = (
    "Below is an instruction that describes a task{paired}. "
    "Write a response that appropriately completes the request."
)
PAIRED = ", paired with an input that provides further context"


@register("alpaca", markers=("### Instruction:", "### Input:", "### Response:"))
def alpaca(
    messages: Sequence[Message], tokenizer: TextTokenizer, add_generation_prompt: bool
) -> Iterator[Piece]:
    """The preamble (or the system line in its place), then headed paragraphs."""
    pen = Pen(tokenizer, MARKS["alpaca"])
    if messages[0]["role"] == "system":
        yield pen.words(words_of(messages[0])), False
    else:
        yield pen.fixed(PREAMBLE.format(paired=PAIRED if messages[0].get("input") else "")), False
    yield from _paragraphs(messages, pen, add_generation_prompt, "Response")


@register("triplet", markers=("### Instruction:", "### Input:", "### Output:"), ends=("<|sep|>", END))
def triplet(
    messages: Sequence[Message], tokenizer: TextTokenizer, add_generation_prompt: bool
) -> Iterator[Piece]:
    """Headed paragraphs without a preamble; `<|sep|>` closes an answer."""
    pen = Pen(tokenizer, MARKS["triplet"])
    if messages[0]["role"] == "system":
        yield pen.words(words_of(messages[0])), False
    yield from _paragraphs(messages, pen, add_generation_prompt, "Output")


def _paragraphs(
    messages: Sequence[Message], pen: Pen, add_generation_prompt: bool, answer: str
) -> Iterator[Piece]:
    """`### Instruction:`, `### Input:` and the answer, each under its heading, with blank lines between."""
    gap = "\n\n" if answer == "Response" or messages[0]["role"] == "system" else ""
    for message in messages:
        if message["role"] == "user":
            yield pen.fixed(f"{gap}### Instruction:\n"), False
            yield pen.words(message["content"]), False
            if message.get("input"):
                yield pen.fixed("\n\n### Input:\n"), False
                yield pen.words(message["input"]), False
        elif message["role"] == "assistant":
            yield pen.fixed(f"\n\n### {answer}:\n"), False
            yield pen.words(words_of(message)), True
            yield pen.end(), True
        gap = "\n\n"
    if add_generation_prompt:
        yield pen.fixed(f"\n\n### {answer}:\n"), False


@register("chatml", markers=("<|im_start|>", "<|im_end|>"), ends=("<|im_end|>",))
def chatml(
    messages: Sequence[Message], tokenizer: TextTokenizer, add_generation_prompt: bool
) -> Iterator[Piece]:
    """`<|im_start|>role⏎words<|im_end|>⏎` for every turn."""
    pen = Pen(tokenizer, MARKS["chatml"])
    for message in messages:
        answer = message["role"] == "assistant"
        yield pen.fixed(f"<|im_start|>{message['role']}\n"), False
        yield pen.words(words_of(message)), answer
        yield pen.end(), answer
        yield pen.fixed("\n"), False
    if add_generation_prompt:
        yield pen.fixed("<|im_start|>assistant\n"), False


@register("llama2", markers=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"), ends=("</s>",))
def llama2(
    messages: Sequence[Message], tokenizer: TextTokenizer, add_generation_prompt: bool
) -> Iterator[Piece]:
    """`<s>[INST] words [/INST] answer</s>` for every exchange; the system line stands inside the first."""
    pen = Pen(tokenizer, MARKS["llama2"])
    opened = False  # whether an [INST] waits for its user
    for message in messages:
        if message["role"] == "assistant":
            yield pen.fixed(" [/INST] " if opened else " "), False
            yield pen.words(words_of(message)), True
            yield pen.end(), True
            opened = False
            continue
        if not opened:
            yield pen.fixed("<s>[INST] "), False
        if message["role"] == "system":
            yield pen.fixed("<<SYS>>\n"), False
            yield pen.words(words_of(message)), False
            yield pen.fixed("\n<</SYS>>\n\n"), False
        else:
            yield pen.words(words_of(message)), False
            yield pen.fixed(" [/INST]"), False
        opened = message["role"] == "system"
    if add_generation_prompt:
        yield pen.fixed(" [/INST] " if opened else " "), False
