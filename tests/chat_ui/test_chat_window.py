"""The window's behaviour through Chainlit's own handlers: errors, trimming, edits, modes."""

from __future__ import annotations

import asyncio

import chat_harness  # noqa: F401  first: it says where Chainlit may write
import pytest

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")

from chat_harness import Engine, Window, chat_on, tiny_model
from template_checks import END

from gpt_model import generation
from working_with_text_data.byte_tokenizer import ByteTokenizer


@pytest.fixture
def prompts(monkeypatch):
    """The prompt of every answer, as text."""
    seen: list[str] = []
    real = generation.stream_text

    def listening(model, tokenizer, prompt_ids, **rest):
        seen.append(tokenizer.decode(prompt_ids))
        return real(model, tokenizer, prompt_ids, **rest)

    monkeypatch.setattr(generation, "stream_text", listening)
    return seen


def in_chat(tmp_path, conversation, **shape):
    """Run `conversation(window)` in a window of its own on a tiny model."""
    loaded = tiny_model(**shape)

    async def talk():
        async with chat_on(loaded, tmp_path):
            window = await Window().open()
            try:
                return await conversation(window)
            finally:
                await window.close()

    return asyncio.run(talk())


def errors(window) -> list[str]:
    return [data["output"] for event, data in window.events if event == "new_message" and data["isError"]]


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_an_empty_message_gets_a_clear_answer_and_is_not_remembered(text, tmp_path, prompts):
    async def talk(window):
        await window.change(max_new_tokens=3)
        await window.ask(text)
        await window.ask("hello")
        return errors(window)

    assert in_chat(tmp_path, talk) == ["the message is empty: write a few words for the model to go on from"]
    assert prompts == [f"<|user|>hello{END}<|assistant|>"]


def test_a_message_longer_than_the_context_says_both_numbers_and_is_not_remembered(tmp_path, prompts):
    async def talk(window):
        await window.change(max_new_tokens=3)
        await window.ask("x" * 300)
        await window.ask("hello")
        return errors(window)

    (said,) = in_chat(tmp_path, talk)
    assert "has 303 tokens" in said and "only 256" in said and "\n" not in said
    assert prompts == [f"<|user|>hello{END}<|assistant|>"]


def test_ten_megabytes_are_refused_while_the_loop_stays_free(tmp_path):
    async def talk(window):
        late = 0.0

        async def ticker():
            nonlocal late
            loop = asyncio.get_running_loop()
            while True:
                start = loop.time()
                await asyncio.sleep(0.01)
                late = max(late, loop.time() - start)

        ticking = asyncio.create_task(ticker())
        await window.ask("x" * 10_000_000)
        ticking.cancel()
        return errors(window), late

    (said,), late = in_chat(tmp_path, talk)
    assert "has 10000003 tokens" in said
    assert late < 3, f"the event loop stood still for {late:.1f} s"


def test_trimming_keeps_the_system_line_and_is_said(tmp_path, prompts):
    async def talk(window):
        await window.change(system="be a fox", max_new_tokens=20, seed="1")
        for text in ("a" * 60, "b" * 60, "c" * 60):
            await window.ask(text)
        return [text for text in window.said() if "no longer sees" in text]

    said = in_chat(tmp_path, talk)
    assert said == [
        "The conversation is longer than the 256 tokens that this model reads at once: "
        "it no longer sees the first 2 messages."
    ]
    assert all(prompt.startswith(f"<|system|>be a fox{END}<|user|>") for prompt in prompts)
    assert "a" * 60 in prompts[1] and "a" * 60 not in prompts[2]
    assert "b" * 60 in prompts[2]


def test_an_edited_message_goes_on_from_there(tmp_path, prompts):
    async def talk(window):
        await window.change(max_new_tokens=3, seed="1")
        first = await window.send("one")
        await window.finished()
        await window.ask("two")
        await window.edit(first, "three")

    in_chat(tmp_path, talk)
    assert prompts[-1] == f"<|user|>three{END}<|assistant|>"


def test_a_new_message_ends_the_answer_before_it_and_keeps_the_order(tmp_path, prompts):
    async def talk(window):
        await window.change(max_new_tokens=150, seed="1")
        await window.send("first")
        await window.wait_for_pieces(2)
        before = window.session.current_task
        await window.change(max_new_tokens=3)
        await window.send("second")
        await window.finished()
        await before
        return window.streamed()

    loaded = tiny_model()
    Engine(loaded, pause=0.01)

    async def run():
        async with chat_on(loaded, tmp_path):
            window = await Window().open()
            return await talk(window)

    text = asyncio.run(run())
    partial = text[:-3]
    assert prompts[1] == f"<|user|>first{END}<|assistant|>{partial}{END}<|user|>second{END}<|assistant|>"
    assert len(partial) < 150


def test_continue_reads_only_the_text_and_opens_it_as_a_document(tmp_path, prompts):
    async def talk(window):
        await window.change(mode="continue", max_new_tokens=3)
        await window.ask("Once upon")
        await window.ask("a time")

    in_chat(tmp_path, talk)
    assert prompts == [f"{END}Once upon", f"{END}a time"]


def test_an_answer_that_ends_by_itself_ends_without_its_end_token(tmp_path):
    async def talk(window):
        await window.change(temperature=1.5, top_k=0, top_p=1, max_new_tokens=200, seed="3")
        return [await window.ask("hello") for _ in range(3)]

    answers = in_chat(tmp_path, talk, ends=True)
    assert any(len(answer) < 200 for answer in answers), "none of them ended by itself"
    assert not any("<" in answer for answer in answers)


def test_a_setting_out_of_bounds_changes_nothing_and_says_so(tmp_path):
    async def talk(window):
        await window.change(max_new_tokens=5)
        await window.change(temperature=-2)
        return errors(window), await window.ask("hello")

    (said,), answer = in_chat(tmp_path, talk)
    assert said.startswith("temperature is -2: give a number from 0 to 10")
    assert len(answer) == 5


def test_a_model_without_roles_continues_instead_of_chatting(tmp_path):
    loaded = tiny_model()
    loaded.tokenizer = ByteTokenizer()

    async def talk():
        async with chat_on(loaded, tmp_path):
            window = await Window().open()
            initial = {
                field["id"]: field["initial"] for e, d in window.events if e == "chat_settings" for field in d
            }
            await window.change(mode="chat", max_new_tokens=4)
            answer = await window.ask("Once")
            await window.close()
            return initial["mode"], answer, window.said()

    mode, answer, said = asyncio.run(talk())
    assert mode == "continue"
    assert len(answer) == 4
    assert any("knows no roles" in text for text in said)


def test_no_model_at_all_says_how_to_make_one(tmp_path):
    import chat_ui.app as app
    from chat_ui.models import Models

    async def talk():
        async with chat_on(tiny_model(), tmp_path):
            app.shelf = lambda: Models(root=tmp_path, assets=tmp_path)
            window = await Window().open()
            await window.ask("hello")
            await window.close()
            return errors(window)

    said = asyncio.run(talk())
    assert said and all("scratchbook demo" in text for text in said)


def test_a_failure_of_the_engine_closes_the_message_and_is_said(tmp_path, monkeypatch):
    import chat_ui.app as app

    def breaks(*_):
        yield "half an ans"
        raise RuntimeError("out of memory")

    monkeypatch.setattr(app, "write", breaks)

    async def talk(window):
        text = await window.ask("hello")
        closed = [d for e, d in window.events if e == "update_message" and d["type"] == "assistant_message"]
        return text, closed[-1]["streaming"], errors(window)

    assert in_chat(tmp_path, talk) == ("half an ans", False, ["The answer failed: out of memory"])


def test_nothing_touches_the_global_random_state(tmp_path):
    import torch

    async def talk(window):
        await window.change(max_new_tokens=30)
        before = torch.random.get_rng_state()
        await window.ask("hello")
        return torch.equal(before, torch.random.get_rng_state())

    assert in_chat(tmp_path, talk)
