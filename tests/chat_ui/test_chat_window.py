"""The window's behaviour through Chainlit's own handlers: errors, trimming, edits, modes."""

from __future__ import annotations

import asyncio

import chat_harness  # noqa: F401  first: it says where Chainlit may write
import pytest

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")

from chat_harness import Engine, Window, chat_on, listening, tiny_model
from template_checks import END, role_tokenizer

from working_with_text_data.byte_tokenizer import ByteTokenizer


@pytest.fixture
def prompts():
    """The prompt of every answer, as text."""

    with listening() as ids:
        yield lambda: [role_tokenizer().decode(each) for each in ids]


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
    assert prompts() == [f"<|user|>hello{END}<|assistant|>"]


def test_a_message_longer_than_the_context_says_both_numbers_and_is_not_remembered(tmp_path, prompts):
    async def talk(window):
        await window.change(max_new_tokens=3)
        await window.ask("x" * 300)
        await window.ask("hello")
        return errors(window)

    (said,) = in_chat(tmp_path, talk)
    assert "has 303 tokens" in said and "only 256" in said and "\n" not in said
    assert prompts() == [f"<|user|>hello{END}<|assistant|>"]


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
    assert "has 10,000,000 characters" in said and "200,000" in said
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
    assert all(prompt.startswith(f"<|system|>be a fox{END}<|user|>") for prompt in prompts())
    assert "a" * 60 in prompts()[1] and "a" * 60 not in prompts()[2]
    assert "b" * 60 in prompts()[2]


def test_an_edited_message_goes_on_from_there(tmp_path, prompts):
    async def talk(window):
        await window.change(max_new_tokens=3, seed="1")
        first = await window.send("one")
        await window.finished()
        await window.ask("two")
        await window.edit(first, "three")

    in_chat(tmp_path, talk)
    assert prompts()[-1] == f"<|user|>three{END}<|assistant|>"


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
    assert prompts()[1] == f"<|user|>first{END}<|assistant|>{partial}{END}<|user|>second{END}<|assistant|>"
    assert len(partial) < 150


def test_continue_reads_only_the_text_and_opens_it_as_a_document(tmp_path, prompts):
    async def talk(window):
        await window.change(mode="continue", max_new_tokens=3)
        await window.ask("Once upon")
        await window.ask("a time")

    in_chat(tmp_path, talk)
    assert prompts() == [f"{END}Once upon", f"{END}a time"]


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
    from chat_ui import room
    from chat_ui.models import Models
    from chat_ui.service import Service

    async def talk():
        async with chat_on(tiny_model(), tmp_path):
            service = Service(Models(root=tmp_path, assets=tmp_path))
            room.use(service)
            window = await Window().open()
            await window.ask("hello")
            await window.close()
            await service.close()
            return errors(window)

    said = asyncio.run(talk())
    assert said and all("scratchbook demo" in text for text in said)


def test_a_failure_of_the_engine_closes_the_message_and_is_said(tmp_path):
    loaded = tiny_model()

    def fails():
        if engine.passes == 9:
            raise MemoryError("out of memory")

    engine = Engine(loaded, pause=0.02, during=fails)

    async def talk():
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=100)
            text = await window.ask("hello")
            closed = [
                d for e, d in window.events if e == "update_message" and d["type"] == "assistant_message"
            ]
            said = errors(window)
            more = await window.ask("and now?")
            await window.close()
            return text, closed[-1], said, more

    text, closed, said, more = asyncio.run(talk())
    assert len(text) == 8 and closed["output"] == text and not closed["streaming"]
    assert said == ["the engine failed: out of memory"]
    assert len(more) == 100, "one failure must not end the chat"


def test_nothing_touches_the_global_random_state(tmp_path):
    import torch

    async def talk(window):
        await window.change(max_new_tokens=30)
        before = torch.random.get_rng_state()
        await window.ask("hello")
        return torch.equal(before, torch.random.get_rng_state())

    assert in_chat(tmp_path, talk)


def test_a_template_of_words_lets_a_model_without_roles_chat(tmp_path):
    loaded = tiny_model()
    loaded.tokenizer = ByteTokenizer()

    async def talk():
        async with chat_on(loaded, tmp_path):
            window = await Window().open()
            await window.change(mode="chat", template="alpaca", max_new_tokens=4)
            answer = await window.ask("Say it")
            await window.close()
            return answer, [text for text in window.said() if text]

    with listening() as ids:
        answer, said = asyncio.run(talk())
    assert len(answer) == 4 and said == []
    text = bytes(ids[0]).decode()
    assert "### Instruction:\nSay it" in text and text.rstrip().endswith("### Response:")


def test_another_template_is_what_the_model_reads(tmp_path, prompts):
    async def talk(window):
        await window.change(template="triplet", max_new_tokens=3, seed="1")
        await window.ask("hello")
        await window.change(template="as trained")
        await window.ask("hello")

    in_chat(tmp_path, talk)
    assert "### Instruction" in prompts()[0]
    assert prompts()[1].startswith("<|user|>hello") and prompts()[1].endswith(
        "<|user|>hello" + END + "<|assistant|>"
    )


def test_stop_while_the_model_is_still_read_ends_the_answer(tmp_path):
    import threading

    loaded, gate = tiny_model(), threading.Event()

    async def talk():
        async with chat_on(loaded, tmp_path) as app:
            window = await Window().open(max_new_tokens=100)
            models = app.service().models
            models.ready = lambda ref: None
            real = models.get
            models.get = lambda ref: gate.wait(20) and real(ref)
            await window.send("hello")
            await asyncio.sleep(0.05)
            await window.stop()
            gate.set()
            await window.finished()
            await asyncio.sleep(0.05)
            text = window.streamed()
            rest = await window.ask("again")
            await window.close()
            return text, rest, errors(window)

    text, rest, said = asyncio.run(talk())
    assert (text, said) == ("", []) and len(rest) == 100


def test_an_answer_that_is_stopped_says_so_below_it(tmp_path):
    loaded = tiny_model()
    Engine(loaded, pause=0.01)

    async def talk():
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=200)
            await window.send("hello")
            await window.wait_for_pieces(3)
            await window.stop()
            await window.finished()
            await window.close()
            return window.element("Answer")["props"], window.streamed()

    props, shown = asyncio.run(talk())
    facts = {fact["text"]: fact["means"] for fact in props["facts"]}
    assert f"{len(shown)} tokens" in facts and facts[f"{len(shown)} tokens"].endswith("stopped")


def test_facts_below_an_answer(tmp_path):
    async def talk(window):
        await window.change(max_new_tokens=50, seed="9")
        await window.ask("hello")
        return window.element("Answer")

    element = in_chat(tmp_path, talk)
    texts = [fact["text"] for fact in element["props"]["facts"]]
    assert texts[0] == "50 tokens" and texts[1].endswith(" tokens/s") and texts[-1] == "seed 9"
    # 8 read, 50 written, the newest not kept: 57 places, keys and values of 16 float32 each, one layer
    assert "cache 7.3 kB" in texts and 57 * 2 * 16 * 4 == 7296
    assert element["forId"] == element["props"]["id"]


@pytest.mark.parametrize("view", ["attention", "lens"])
def test_a_look_inside_shows_what_was_read_and_written(view, tmp_path):
    async def talk(window):
        await window.change(max_new_tokens=20, seed="9", template="as trained")
        text = await window.ask("hello </script> there")
        id = window.answers()[-1]
        return (
            text,
            await window.act("look", id=id, view=view),
            await window.act("look", id=id, view=view, dark=True),
        )

    text, light, dark = in_chat(tmp_path, talk)
    page = light["page"]
    assert page.startswith("<!doctype html>") and page.count("</script>") == 2, "typed words ended the script"
    assert "(prefers-color-scheme: dark)" not in page.partition("</style>")[0]
    assert "color-scheme: dark" in dark["page"] and "color-scheme: light" in page
    assert text[0] in page and "assistant" in page


def test_a_look_at_what_is_not_there_is_one_line(tmp_path):
    async def talk(window):
        await window.change(max_new_tokens=3)
        await window.ask("hello")
        id = window.answers()[-1]
        return [
            await window.act("look", id="nobody", view="tokens"),
            await window.act("look", id=id, view="soul"),
            await window.act("look", id=[1], view="tokens", more=3),
            await window.act("keep", id=id, side=1),
            await window.act("keep", id=id, side="x"),
        ]

    told = in_chat(tmp_path, talk)
    assert all(set(each) == {"error"} and "\n" not in each["error"] for each in told)
    assert "no view 'soul'" in told[1]["error"]


def test_only_the_newest_records_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("chat_ui.window.RECORDS", 2)

    async def talk(window):
        await window.change(max_new_tokens=2)
        for text in "abc":
            await window.ask(text)
        return [set(await window.act("look", id=id, view="tokens")) for id in window.answers()]

    assert in_chat(tmp_path, talk) == [{"error"}, {"rows"}, {"rows"}]


def test_the_other_answer_cannot_be_taken_once_the_talk_went_on(tmp_path):
    async def talk(window):
        await window.change(max_new_tokens=5, beside="greedy")
        await window.ask("hello")
        id = window.answers()[-1]
        await window.ask("more")
        return await window.act("keep", id=id, side=1)

    assert "has gone on" in in_chat(tmp_path, talk)["error"]


def test_stop_ends_both_sides(tmp_path):
    loaded = tiny_model()
    engine = Engine(loaded, pause=0.01)

    async def talk():
        async with chat_on(loaded, tmp_path):
            window = await Window().open(max_new_tokens=200, beside="hot: temperature 1.5")
            await window.send("hello")
            while not any(e == "element" and d["props"]["sides"][1]["text"] for e, d in window.events):
                await asyncio.sleep(0.005)
            before = engine.passes
            await window.stop()
            await window.finished()
            await asyncio.sleep(0.1)
            late = engine.passes - before
            live = engine.live_caches()
            await window.close()
            return late, live, window.element("Answer")["props"]

    late, live, props = asyncio.run(talk())
    assert late <= 2 and live == 0
    assert props["facts"]


def test_the_panel_of_another_model_has_its_own_limits(tmp_path):
    from chat_ui.models import Choice

    long, short = tiny_model(block_size=256), tiny_model(block_size=64)

    async def talk():
        async with chat_on(long, tmp_path) as app:
            models = app.service().models
            models._load = lambda ref, device: short if ref == "small" else long
            models.choices = lambda: [Choice("tiny", "tiny"), Choice("small", "a small one")]
            window = await Window().open(max_new_tokens=200)
            await window.change(model="small")
            await window.ask("hello")
            panels = [d for e, d in window.events if e == "chat_settings"]
            await window.close()
            fields = {field["id"]: field for field in panels[-1]}
            return len(panels), fields["max_new_tokens"], fields["model"], window.streamed()

    panels, length, model, text = asyncio.run(talk())
    assert panels == 2 and (length["max"], length["initial"]) == (64, 32)
    assert model["initial"] == "small" and [item["value"] for item in model["items"]] == ["tiny", "small"]
    assert len(text) == 32
