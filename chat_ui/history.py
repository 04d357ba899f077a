"""Conversations that are kept: four tables in one SQLite file, read and written through Chainlit's own seam.

    scratchbook serve --history talks.db

A window is forgotten when it is closed; with a history its threads stand in the side bar, and one that is opened again
goes on where it was: the model sees the same words. What is kept is words and settings, not keys or probabilities.

Every statement has places for its values (`?`), so that no text and no id from a page can become SQL; a thread is
given only to the user who began it (Chainlit asks `get_thread_author` before every route). One worker thread does all,
in the order in which it was asked for: the event loop never waits for a disk, and no older state of a message can
overwrite a newer one. A connection lives for one call.

Left out: files (uploads are off), pictures below an answer, more than one user (`app`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from chat_ui.here import FOLDER

os.environ.setdefault("CHAINLIT_APP_ROOT", str(FOLDER))

from chainlit.data.base import BaseDataLayer
from chainlit.data.utils import queue_until_user_message
from chainlit.types import Feedback, PageInfo, PaginatedResponse, Pagination, ThreadFilter
from chainlit.user import PersistedUser, User
from chainlit.utils import utc_now

from chat_ui.conversation import Conversation
from utils.errors import UserError

TABLES = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, identifier TEXT NOT NULL UNIQUE, created TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS threads (
    id TEXT PRIMARY KEY, name TEXT, user TEXT REFERENCES users(id), created TEXT NOT NULL, used TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}', tags TEXT NOT NULL DEFAULT '[]');
CREATE TABLE IF NOT EXISTS steps (
    id TEXT PRIMARY KEY, thread TEXT NOT NULL REFERENCES threads(id) ON DELETE CASCADE, created TEXT NOT NULL,
    text TEXT NOT NULL, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS feedbacks (
    id TEXT PRIMARY KEY, step TEXT NOT NULL REFERENCES steps(id) ON DELETE CASCADE, value INTEGER, comment TEXT);
CREATE INDEX IF NOT EXISTS steps_of_thread ON steps(thread, created);
"""
NAME_CHARACTERS = 80  # of a thread: the first question


class History(BaseDataLayer):
    """The conversations in one file. Raises UserError for a file that is no SQLite database or cannot be written."""

    def __init__(self, file: Path) -> None:
        self.file = Path(file)
        # One worker: Chainlit writes from tasks that nobody waits for, and the newest state must be the last.
        self._worker = ThreadPoolExecutor(1, "scratchbook-history")
        try:
            with closing(self._connect()) as database, database:
                database.executescript(TABLES)
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"the history {self.file} cannot be opened ({error}): name another file with --history"
            ) from None

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.file, timeout=10)
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA journal_mode = WAL")
        return database

    async def _run(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """One statement in one transaction; its rows."""
        return await self._in_turn((statement, values))

    async def _in_turn(self, *statements: tuple[str, tuple[Any, ...]]) -> list[sqlite3.Row]:
        """Statements in one transaction, after all that was asked for before; the rows of the last."""

        def work() -> list[sqlite3.Row]:
            rows: list[sqlite3.Row] = []
            with closing(self._connect()) as database, database:
                for statement, values in statements:
                    rows = database.execute(statement, values).fetchall()
            return rows

        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    # Users --------------------------------------------------------------------------------------------

    async def get_user(self, identifier: str) -> PersistedUser | None:
        for row in await self._run("SELECT * FROM users WHERE identifier = ?", identifier):
            metadata = json.loads(row["metadata"])
            return PersistedUser(
                id=row["id"], identifier=row["identifier"], createdAt=row["created"], metadata=metadata
            )
        return None

    async def create_user(self, user: User) -> PersistedUser | None:
        await self._run(
            "INSERT INTO users VALUES (?, ?, ?, ?) ON CONFLICT (identifier) DO NOTHING",
            str(uuid.uuid4()), user.identifier, utc_now(), json.dumps(user.metadata),
        )  # fmt: skip
        return await self.get_user(user.identifier)

    # Threads ------------------------------------------------------------------------------------------

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict | None = None,
        tags: list[str] | None = None,
    ) -> None:
        await self._in_turn(_update(thread_id, name, user_id, metadata, tags))

    async def get_thread_author(self, thread_id: str) -> str:
        rows = await self._run(
            "SELECT identifier FROM threads JOIN users ON users.id = user WHERE threads.id = ?", thread_id
        )
        return str(rows[0]["identifier"]) if rows else ""

    async def delete_thread(self, thread_id: str) -> None:
        await self._run("DELETE FROM threads WHERE id = ?", thread_id)

    async def get_thread(self, thread_id: str) -> Any:
        rows = await self._run("SELECT * FROM threads WHERE id = ?", thread_id)
        if not rows:
            return None
        return await self._thread(rows[0])

    async def list_threads(self, pagination: Pagination, filters: ThreadFilter) -> PaginatedResponse[Any]:
        # Written like a word in it, not as a pattern: % and _ are signs.
        search = filters.search or ""
        rows: Sequence[sqlite3.Row] = await self._run(
            "SELECT * FROM threads WHERE user = ?1 AND (?2 = '' OR instr(lower(name), lower(?2)) OR EXISTS "
            "(SELECT 1 FROM steps WHERE thread = threads.id AND instr(lower(text), lower(?2)))) "
            "ORDER BY used DESC, id",
            filters.userId or "", search,
        )  # fmt: skip
        ids = [row["id"] for row in rows]
        start = ids.index(pagination.cursor) + 1 if pagination.cursor in ids else 0
        some = rows[start : start + pagination.first]
        info = PageInfo(
            hasNextPage=start + len(some) < len(rows),
            startCursor=some[0]["id"] if some else None,
            endCursor=some[-1]["id"] if some else None,
        )
        return PaginatedResponse(pageInfo=info, data=[await self._thread(row, steps=False) for row in some])

    async def _thread(self, row: sqlite3.Row, *, steps: bool = True) -> dict[str, Any]:
        owner = await self._run("SELECT identifier FROM users WHERE id = ?", row["user"])
        found = []
        if steps:
            said = await self._run("SELECT * FROM steps WHERE thread = ? ORDER BY created, rowid", row["id"])
            found = [json.loads(step["value"]) for step in said]
        return {
            "id": row["id"],
            "createdAt": row["used"],
            "name": row["name"],
            "userId": row["user"],
            "userIdentifier": owner[0]["identifier"] if owner else None,
            "tags": json.loads(row["tags"]),
            "metadata": json.loads(row["metadata"]),
            "steps": found,
            "elements": [],
        }

    # Steps: everything that was said -------------------------------------------------------------------

    @queue_until_user_message()
    async def create_step(self, step_dict: Any) -> None:
        await self.store(step_dict)

    @queue_until_user_message()
    async def update_step(self, step_dict: Any) -> None:
        await self.store(step_dict)

    @queue_until_user_message()
    async def delete_step(self, step_id: str) -> None:
        await self._run("DELETE FROM steps WHERE id = ?", step_id)

    async def store(self, step: dict[str, Any]) -> None:
        """Put a step into its thread, or in the place of an earlier state of itself."""
        if "message" not in str(step.get("type")):  # Chainlit's own record of a call: nothing was said
            return
        created = step.get("createdAt") or utc_now()
        value = json.dumps({**step, "createdAt": created, "streaming": False})
        await self._in_turn(
            _update(step["threadId"]),
            (
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET text = excluded.text, value = excluded.value",
                (step["id"], step["threadId"], created, str(step.get("output") or ""), value),
            ),
        )

    async def get_favorite_steps(self, user_id: str) -> list[Any]:
        return []

    # What a reader thinks of an answer ------------------------------------------------------------------

    async def upsert_feedback(self, feedback: Feedback) -> str:
        id = feedback.id or str(uuid.uuid4())
        await self._run(
            "INSERT OR REPLACE INTO feedbacks VALUES (?, ?, ?, ?)", id, feedback.forId, feedback.value, feedback.comment
        )  # fmt: skip
        return id

    async def delete_feedback(self, feedback_id: str) -> bool:
        return bool(await self._run("DELETE FROM feedbacks WHERE id = ? RETURNING id", feedback_id))

    # Elements are drawn from what a window remembers, and are not kept -----------------------------------

    @queue_until_user_message()
    async def create_element(self, element: Any) -> None:
        return None

    async def get_element(self, thread_id: str, element_id: str) -> Any:
        return None

    @queue_until_user_message()
    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        return None

    async def build_debug_url(self) -> str:
        return ""

    async def close(self) -> None:
        self._worker.shutdown(wait=False)


def _update(
    thread: str,
    name: str | None = None,
    user: str | None = None,
    metadata: dict | None = None,
    tags: list[str] | None = None,
) -> tuple[str, tuple[Any, ...]]:
    """The statement that begins a thread or changes it; what is None stays as it is.

    Whoever begins a thread owns it: a later name in its place would be somebody who guessed the id.
    """
    return (
        "INSERT INTO threads (id, name, user, metadata, tags, created, used) "
        "VALUES (?1, ?2, ?3, coalesce(?4, '{}'), coalesce(?5, '[]'), ?6, ?6) ON CONFLICT (id) DO UPDATE SET "
        "name = coalesce(?2, name), user = coalesce(user, ?3), metadata = coalesce(?4, metadata), "
        "tags = coalesce(?5, tags), used = ?6",
        (
            thread,
            None if name is None else " ".join(name.split())[:NAME_CHARACTERS] or "…",
            user,
            None if metadata is None else json.dumps(metadata),
            None if tags is None else json.dumps(tags),
            utc_now(),
        ),
    )


def restore(conversation: Conversation, thread: Any) -> None:
    """Take the words of a thread into a conversation: questions, and what a model answered to them.

    Notes of the program and messages that were never answered were not part of what the model read, and are not now.
    """
    asked: tuple[str, str] | None = None
    for step in thread.get("steps") or []:
        kind, metadata = step.get("type"), step.get("metadata") or {}
        if kind == "user_message":
            asked = (step["id"], str(step.get("output") or ""))
        elif kind == "assistant_message" and "answer" in metadata and asked is not None:
            conversation.ask(*asked)
            conversation.answer(step["id"], str(metadata["answer"]))
            asked = None
