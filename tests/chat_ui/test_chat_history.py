"""The file of conversations: four tables by hand, read and written through Chainlit's seam."""

from __future__ import annotations

import asyncio

import chat_harness  # noqa: F401  first: it says where Chainlit may write
import pytest

pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")

from chainlit.types import Feedback, Pagination, ThreadFilter
from chainlit.user import User

from chat_ui.conversation import Conversation
from chat_ui.history import History, restore
from utils.errors import UserError


def step(id: str, text: str, thread: str = "t", type: str = "user_message", at: str = "1", **more) -> dict:
    return {"id": id, "threadId": thread, "type": type, "output": text, "createdAt": at, **more}


def run(tmp_path, work):
    async def all_of_it():
        history = History(tmp_path / "talks.db")
        user = await history.create_user(User(identifier="reader"))
        return await work(history, user)

    return asyncio.run(all_of_it())


async def listed(history, user, first=20, cursor=None, search=None):
    page = await history.list_threads(
        Pagination(first=first, cursor=cursor), ThreadFilter(userId=user, search=search)
    )
    return [thread["id"] for thread in page.data], page.pageInfo


def test_a_user_is_made_once(tmp_path):
    async def work(history, user):
        again = await history.create_user(User(identifier="reader"))
        assert again.id == user.id and await history.get_user("nobody") is None

    run(tmp_path, work)


def test_a_thread_comes_back_in_its_order_in_another_process(tmp_path):
    async def work(history, user):
        await history.update_thread("t", name="hello\n  there", user_id=user.id)
        await history.store(step("a", "hello", at="1"))
        await history.store(step("b", "hal", type="assistant_message", at="2", streaming=True))
        await history.store(step("b", "hallo", type="assistant_message", at="2"))
        await history.store({"id": "r", "threadId": "t", "type": "run", "output": ""})
        await history.update_thread("t", metadata={"chat_settings": {"seed": "1"}})
        thread = await History(history.file).get_thread("t")
        assert [s["output"] for s in thread["steps"]] == ["hello", "hallo"]
        assert thread["name"] == "hello there" and thread["userIdentifier"] == "reader"
        assert thread["metadata"] == {"chat_settings": {"seed": "1"}}
        assert await history.get_thread_author("t") == "reader"

    run(tmp_path, work)


def test_pages_search_and_deletion(tmp_path):
    async def work(history, user):
        for number in range(5):
            await history.update_thread(f"t{number}", name=f"talk {number}", user_id=user.id)
            await history.store(step(f"s{number}", f"a fox named 100%_{number}", thread=f"t{number}"))
        first, info = await listed(history, user.id, first=2)
        rest, end = await listed(history, user.id, first=9, cursor=info.endCursor)
        assert info.hasNextPage and not end.hasNextPage
        assert first == ["t4", "t3"] and rest == ["t2", "t1", "t0"], "the newest first, each once"
        assert (await listed(history, user.id, search="FOX"))[0] == [*first, *rest]
        assert (await listed(history, user.id, search="%_3"))[0] == ["t3"], "% and _ are signs, not patterns"
        assert (await listed(history, "somebody"))[0] == []
        await history.delete_thread("t3")
        assert (await listed(history, user.id, search="%_3"))[0] == []
        assert await history._run("SELECT 1 FROM steps WHERE thread = 't3'") == []

    run(tmp_path, work)


@pytest.mark.parametrize("nasty", ["'; DROP TABLE steps; --", 'x" OR "1"="1', "t\u0000u", "%"])
def test_ids_and_texts_are_values_never_sql(tmp_path, nasty):
    async def work(history, user):
        await history.update_thread("t", name="kept", user_id=user.id)
        await history.update_thread(nasty, name=nasty, user_id=nasty if False else user.id)
        await history.store(step(nasty, nasty, thread=nasty))
        assert await history.get_thread("no such") is None
        assert (await history.get_thread(nasty))["steps"][0]["output"] == nasty
        assert await history.get_thread_author(nasty + "x") == ""
        await history.delete_thread(nasty)
        assert (await listed(history, user.id))[0] == ["t"]

    run(tmp_path, work)


def test_an_opinion_is_kept_and_taken_back(tmp_path):
    async def work(history, user):
        await history.store(step("a", "x"))
        id = await history.upsert_feedback(Feedback(forId="a", value=1))
        assert await history.delete_feedback(id) and not await history.delete_feedback(id)

    run(tmp_path, work)


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "talks.db").write_text("these are my notes, not a database " * 100)
    with pytest.raises(UserError, match="--history") as error:
        History(tmp_path / "talks.db")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="--history"):
        History(tmp_path / "no" / "such" / "folder.db")


def test_only_what_the_model_read_and_said_comes_back():
    answer = {"metadata": {"answer": "B"}, "type": "assistant_message"}
    steps = [
        step("1", "never answered"),
        step("2", "an error", type="assistant_message"),
        step("3", "a"),
        step("n", "a note", type="system_message"),
        step("4", "**x** beside **y**", **answer),
        step("5", "Task manually stopped.", type="assistant_message", metadata={}),
        step("6", "unanswered at the end"),
    ]
    talk = Conversation()
    restore(talk, {"steps": steps})
    assert talk.messages() == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "B"}]
    empty = Conversation()
    restore(empty, {})
    assert empty.turns == []
