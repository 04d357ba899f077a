"""What a chat window knows of its answers and does with them (LS1, LS3, LS5): functions that raise AssertionError."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from chat_checks import alone, exact_model, spelled
from chat_harness import Window, chat_on, listening, tiny_model
from template_checks import END


def check_side_by_side_equals_alone(tmp_path: Path) -> None:
    """LS1: two answers written at once, each as its own way of drawing writes it alone."""
    from gpt_model.sampling import Sampling

    loaded = exact_model()
    own = {"temperature": 0.9, "top_k": 12.0, "top_p": 1.0, "min_p": 0.01, "repetition_penalty": 1.2}
    prompt = spelled(loaded.tokenizer, "<|user|>", "hello", END, "<|assistant|>")
    mine = Sampling(temperature=0.9, top_k=12, min_p=0.01, repetition_penalty=1.2, seed=7)
    wanted = [alone(loaded, prompt, how, 40) for how in (mine, Sampling(temperature=0.0, seed=7))]
    assert wanted[0] != wanted[1]

    async def talk() -> tuple[dict[str, Any], list[str]]:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(**own, seed="7", max_new_tokens=40, beside="greedy")
            await window.ask("hello")
            shown = window.element("Beside")["props"]
            # The conversation goes on from the left one, until the other is taken.
            asked = []
            for side in (0, 1):
                told = await window.act("keep", id=shown["id"], side=side)
                assert told == {"kept": side}
                exported = await window.act("export")
                asked.append(exported["files"][1]["text"])
            await window.close()
            return shown, asked

    shown, exported = asyncio.run(talk())
    got = [side["text"] for side in shown["sides"]]
    assert got == wanted, (
        f"side by side the window wrote {got}, alone the model writes {wanted}: does one of the two answers draw "
        "with the other's settings or luck?"
    )
    said = [json.loads(text)["messages"][-1]["content"] for text in exported]
    assert said == wanted, "the answer that was chosen is not the one the conversation goes on from"


def check_probabilities_are_the_models_own(tmp_path: Path) -> None:
    """What is shown of a token: its probability by the model itself, at its own place, whatever the settings were."""
    loaded = exact_model()

    async def talk() -> tuple[str, list[dict[str, Any]]]:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(temperature=1.7, top_k=9.0, seed="5", max_new_tokens=30)
            text = await window.ask("hello")
            told = await window.act("look", id=window.answers()[-1], view="tokens")
            await window.close()
            return text, told["rows"]

    text, rows = asyncio.run(talk())
    prompt = spelled(loaded.tokenizer, "<|user|>", "hello", END, "<|assistant|>")
    ids = [*prompt, *text.encode()]
    with torch.inference_mode():  # one pass over everything, no cache, no engine
        table = loaded.model(torch.tensor([ids])).logits[0].double().softmax(dim=-1)
    assert len(rows) == len(text) == 30
    for place, row in enumerate(rows):
        own = table[len(prompt) - 1 + place]
        p = float(own[ids[len(prompt) + place]])
        assert abs(row["p"] - p) <= 1e-3 * p + 1e-9, (
            f"token {place} is shown with probability {row['p']}, the model gave it {p:.4g}: is it the chance "
            "after temperature and cuts, or that of the token beside it?"
        )
        best = [round(float(value), 6) for value in own.topk(5).values]
        assert [round(share, 6) for _, share in row["others"]] == [
            float(f"{value:.4g}") for value in best
        ] or all(
            abs(share - value) <= 1e-3 * value + 1e-6
            for (_, share), value in zip(row["others"], best, strict=True)
        ), "the alternatives are not the model's likeliest tokens"


def check_a_warm_conversation_is_a_cold_one(tmp_path: Path) -> None:
    """LS3: two conversations in turn, on kept keys, are what a cold engine writes to each whole prompt."""
    from gpt_model.sampling import Sampling

    loaded = exact_model()
    with torch.no_grad():
        for block in loaded.model.blocks:  # so strong that a wrong key changes what is written
            block.attn.qkv_proj.weight.mul_(20)
            block.attn.out_proj.weight.mul_(20)
    read: list[int] = []

    async def talk() -> list[str]:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(seed="3", temperature=1.0, top_k=0.0, top_p=1.0, max_new_tokens=20)
            hook = loaded.model.register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
            other = await Window().open(seed="3", temperature=1.0, top_k=0.0, top_p=1.0, max_new_tokens=20)
            texts = []
            for one, two in (
                ("hello there", "what is it?"),
                ("and then?", "why?"),
                ("is that all?", "and I?"),
            ):
                texts += [await window.ask(one), await other.ask(two)]
            hook.remove()
            await window.close()
            await other.close()
            return texts

    with listening() as prompts:
        texts = asyncio.run(talk())
    cold = [alone(loaded, prompt, Sampling(seed=3), 20) for prompt in prompts]
    assert texts == cold, (
        f"the warm conversations wrote {texts}, cold it is {cold}: keys of another text were taken for this one's"
    )
    everything = sum(map(len, prompts)) + sum(map(len, texts))
    assert sum(read) < 0.7 * everything, (
        f"{sum(read)} places were computed, without a kept cache it is {everything}: nothing was reused"
    )


def check_written_again_is_asked_again(tmp_path: Path) -> None:
    """An answer that is written again is asked with the very same prompt; the old one and what followed are gone."""
    loaded = tiny_model()

    async def talk() -> tuple[list[str], list[str]]:
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=12)
            first = await window.ask("hello")
            await window.ask("more")
            id = window.answers()[0]
            seen = len(window.events)
            assert await window.act("again", id=id) == {"started": True}
            await window.finished()
            second = window.streamed(since=seen)
            removed = [data["id"] for event, data in window.events[seen:] if event == "delete_message"]
            assert removed[0] == id and len(removed) == 3, "the page still shows what is no longer said"
            await window.ask("and now?")
            await window.close()
            return [first, second], removed

    with listening() as prompts:
        (first, second), _ = asyncio.run(talk())
    assert prompts[2] == prompts[0], (
        f"the second answer was asked with {loaded.tokenizer.decode(prompts[2])!r}, the first with "
        f"{loaded.tokenizer.decode(prompts[0])!r}: the old answer must be forgotten before it is asked again"
    )
    assert first != second, "with no seed in the settings each answer draws a new one"
    assert prompts[3] == spelled(
        loaded.tokenizer, "<|user|>", "hello", END, "<|assistant|>", second, END, "<|user|>", "and now?", END,
        "<|assistant|>",
    )  # fmt: skip


def check_a_kept_conversation_goes_on_as_it_was(tmp_path: Path) -> None:
    """A thread that its owner opens again gives the model the prompt it would have had without the pause."""
    loaded = tiny_model()

    async def talk() -> None:
        async with chat_on(loaded, tmp_path):
            with history_on(tmp_path / "talks.db") as history:
                user = await history.create_user(_user("reader"))
                window = await Window(user).open(max_new_tokens=8, seed="4", system="be kind")
                await window.ask("hello")
                await window.ask("   ")  # an error of the program, which the model never read
                await window.change(beside="greedy")
                await window.ask("more")
                await window.act("keep", id=window.answers()[-1], side=1)
                await window.ask("go on")
                thread = window.session.thread_id
                await window.close()
                again = await Window(user, thread).open()
                await again.change(beside="nothing")
                await again.ask("and now?")
                await again.close()
                stranger = await history.create_user(_user("stranger"))
                other = await Window(stranger, thread).open(max_new_tokens=8)
                await other.ask("what was said?")
                await other.close()
                assert await _threads(history, stranger.id) != await _threads(history, user.id)
                assert thread not in await _threads(history, stranger.id), (
                    "a stranger's list shows the thread"
                )

    with listening() as prompts:
        asyncio.run(talk())
    first, last = prompts[4], prompts[-2]  # "go on" on the left; "and now?"
    text = loaded.tokenizer.decode(last)
    assert last[: len(first)] == first and text.endswith(f"<|user|>and now?{END}<|assistant|>"), (
        f"after the pause the model read {text!r}, before it {loaded.tokenizer.decode(first)!r}: what was said, and "
        "only that, must come back"
    )
    stranger_read = loaded.tokenizer.decode(prompts[-1])
    assert "hello" not in stranger_read, f"a stranger's window was given the conversation: {stranger_read!r}"


def _user(name: str) -> Any:
    from chainlit.user import User

    return User(identifier=name)


async def _threads(history: Any, user: str) -> list[str]:
    from chainlit.types import Pagination, ThreadFilter

    page = await history.list_threads(Pagination(first=20), ThreadFilter(userId=user))
    return [thread["id"] for thread in page.data]


@contextmanager
def history_on(file: Path) -> Iterator[Any]:
    """The app with its conversations kept in `file`."""
    import chainlit.data as data
    from chainlit.config import config

    import chat_ui.app as app
    from chat_ui.history import History

    history = History(file)
    before = data._data_layer, data._data_layer_initialized, config.code.on_chat_resume
    data._data_layer, data._data_layer_initialized = history, True
    config.code.on_chat_resume = app.on_chat_resume
    try:
        yield history
    finally:
        data._data_layer, data._data_layer_initialized, config.code.on_chat_resume = before


def check_a_model_is_looked_up_never_opened(tmp_path: Path) -> None:
    """LS5: whatever a page names as its model, only those of the list are loaded."""
    loaded = tiny_model()
    opened: list[str] = []

    async def talk() -> list[str]:
        async with chat_on(loaded, tmp_path) as app:
            models = app.service().models
            real = models.get
            models.get = lambda ref: opened.append(ref) or real(ref)
            window = await Window().open(max_new_tokens=3)
            for name in ("/etc", "../../secret", "assets/../..", "tiny/../tiny", "x" * 5000, "tiny+/tmp"):
                await window.change(model=name)
            answer = await window.ask("hello")
            await window.close()
            assert len(answer) == 3
            return window.said()

    said = asyncio.run(talk())
    assert set(opened) <= {"tiny"}, (
        f"a name from a page was opened as a path: {sorted(set(opened) - {'tiny'})}"
    )
    assert sum("there is no model" in text for text in said) == 6
    assert all("\n" not in text and len(text) < 300 for text in said)
