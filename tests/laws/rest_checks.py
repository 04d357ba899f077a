"""What the REST routes must keep (LS4, LS5, C13), as plain functions that raise AssertionError."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rest_harness import RUN_ID, app_on, ask, ask_async, make_run, messages_of, opened, post, save, tiny, tree

SECRET = "the-secret-of-the-house"
TOKENS, MODEL, RUNS = "/api/v1/tokenization", "/api/v1/transformer", "/api/v1/runs"
STREAM_LINES = [
    b'{"a": 1}',
    b"",
    b'{"text": "caf\xc3\xa9"}',
    b"{}",
    b'{"b": "' + b"x" * 300 + b'"}',
    b'{"c": [1, 2]}',
]


def hostile_names(secret: Path, root: Path) -> list[tuple[str, str]]:
    """(stage, run id) that try to leave the folder of runs."""
    way = os.path.relpath(secret, root)
    return [
        ("..", "secret"),
        ("pretrain", "../../secret"),
        ("pretrain", "..%2f..%2fsecret"),
        ("pretrain/../..", "secret"),
        (".", way),
        (str(secret.parent), secret.name),
        ("pretrain", str(secret)),
        ("pretrain", "..\\..\\secret"),
        ("pretrain", f"{RUN_ID}/../../../secret"),
        ("pretrain", "%2e%2e/secret"),
        ("pretrain", RUN_ID + "\x00"),
        ("pretrain", "~"),
        ("pretrain", "linked run"),
        ("linked stage", "secret"),
        ("pretrain", "."),
        ("", ""),
        ("pretrain", "x" * 5000),
        ("\udcff", "\udcff"),
        ("*", "*"),
    ]


def check_no_name_reaches_a_file_outside(tmp_path: Path) -> None:
    """LS5: whatever a request names, nothing outside the folder of runs is opened, and nothing at all is written."""
    root, secret = tmp_path / "runs", tmp_path / "secret"
    run = make_run(root)
    make_run(tmp_path / "elsewhere", "x", "y")
    (tmp_path / "elsewhere" / "x" / "y").rename(secret)
    (secret / "log.txt").write_text(SECRET + "\n")
    (secret / "metrics.jsonl").write_text(json.dumps({"secret": SECRET}) + "\n")
    (root / "pretrain" / "linked run").symlink_to(secret)
    (root / "linked stage").symlink_to(tmp_path)
    inner = make_run(root, "pretrain", "with-linked-files")
    for name in ("log.txt", "samples.jsonl"):
        (inner.path / name).unlink()
        (inner.path / name).symlink_to(secret / "log.txt")
    (inner.path / "checkpoints").symlink_to(secret)
    names = [*hostile_names(secret, root), ("pretrain", inner.path.name)]
    tails = (
        "",
        "/metrics",
        "/log",
        "/samples",
        "/checkpoints",
        "/provenance",
        "/log/stream",
        "/metrics/stream",
    )
    with app_on(root) as app:
        ask(app, f"{RUNS}/pretrain/{run.id}/checkpoints")  # imports whatever it needs
        before = tree(tmp_path)
        with opened() as paths:
            for stage, run_id in names:
                for tail in tails:
                    reply = ask(app, f"{RUNS}/{stage}/{run_id}{tail}")
                    place = f"{stage!r}/{run_id!r}{tail}"
                    assert SECRET.encode() not in reply.body, f"{place} gave away a file outside the runs"
                    assert reply.status < 500, f"{place} broke the server: {reply.status}"
                    if run_id != inner.path.name and stage:
                        assert reply.status in (404, 422), (
                            f"{place} is answered with {reply.status}, not refused"
                        )
            ask(app, RUNS)
        _nothing_touched(paths, secret)
        assert tree(tmp_path) == before, "a request that only reads has changed files"


def check_no_model_name_reaches_a_file_outside(tmp_path: Path) -> None:
    """LS5: a model or tokenizer is looked up in the list; its name is no path."""
    root, secret = tmp_path / "runs", tmp_path / "secret"
    make_run(root, loaded=tiny())
    save(tiny(), secret)
    with app_on(root) as app:
        post(app, f"{MODEL}/next-token", {"text": "a", "model": f"pretrain/{RUN_ID}"})
        with opened() as paths:
            for stage, run_id in hostile_names(secret, root):
                for name in (
                    f"{stage}/{run_id}",
                    run_id,
                    str(secret),
                    str(secret / "tokenizer.json"),
                    "../secret",
                ):
                    if not name:
                        continue  # the default model
                    for path, value in (
                        (f"{TOKENS}/encode", {"text": "a", "tokenizer": name}),
                        (f"{MODEL}/next-token", {"text": "a", "model": name}),
                    ):
                        reply = post(app, path, value)
                        assert reply.status in (404, 422), (
                            f"{path} took the name {name[:60]!r}: {reply.status} {reply.body[:200]!r}"
                        )
        _nothing_touched(paths, secret)


def _nothing_touched(paths: list[str], secret: Path) -> None:
    inside = str(secret.resolve())
    touched = [path for path in paths if path == inside or path.startswith(inside + os.sep)]
    assert not touched, (
        f"a request opened {touched[0]}, which lies outside the folder of runs: a name from outside must be compared "
        "with a listing, and links must not be followed"
    )


def check_a_linked_run_is_no_model(tmp_path: Path) -> None:
    """LS5: what is listed by /runs is inside; a link to a run elsewhere is not shown."""
    root = tmp_path / "runs"
    make_run(root)
    outside = make_run(tmp_path / "other", "pretrain", "other-run")
    (root / "pretrain" / "other-run").symlink_to(outside.path)
    with app_on(root) as app:
        ids = [run["run_id"] for run in ask(app, RUNS).json["runs"]]
    assert ids == [RUN_ID], f"/runs shows {ids}, of which one is only a link to a folder outside"


# ---- streams


def check_each_line_comes_once(tmp_path: Path, cuts: list[int], leaves: list[int]) -> None:
    """C13: whatever pieces a writer writes and however often a reader loses its connection: every line, once.

    `cuts` are the sizes of the writer's pieces, `leaves` after how many events the reader goes away each time.
    """
    root = tmp_path / "runs"
    run = make_run(root, rows=0)
    run.meta["status"] = "running"
    run._save()
    text = b"".join(line + b"\n" for line in STREAM_LINES)
    file = run.path / "metrics.jsonl"
    wanted = [json.loads(line) for line in STREAM_LINES if line]

    async def write() -> None:
        at = 0
        for size in [*cuts, len(text)]:
            with open(file, "ab") as out:
                out.write(text[at : at + size])
            at += size
            await asyncio.sleep(0.004)
        run.finish("complete")

    async def read(app: Any) -> list[Any]:
        seen: list[Any] = []
        last: str | None = None
        writer = asyncio.ensure_future(write())
        for most in [*leaves, None]:
            headers = [] if last is None else [(b"last-event-id", last.encode())]
            path = f"{RUNS}/pretrain/{run.path.name}/metrics/stream"
            reply = await ask_async(app, path, headers=headers, events=most)
            got = messages_of(reply.body)[:most]
            assert reply.status in (200, 204), f"{reply.status}: {reply.body!r}"
            for each in got:
                last = each["id"] or last
                if each["event"] == "message":
                    seen.append(json.loads(each["data"]))
            if reply.status == 204 or (got and got[-1]["event"] == "end"):
                break
        await writer
        return seen

    with app_on(root) as app:
        seen = asyncio.run(read(app))
        assert app.state.rest.streams == 0, "a stream that has ended is still counted as open"
    assert seen == wanted, (
        f"the reader got {len(seen)} records, written were {len(wanted)}: {seen} instead of {wanted}. The id of an "
        "event must be the offset behind its line, and only whole lines may be read"
    )


def check_the_last_line_is_not_lost() -> None:
    """C13: a run that writes its last line and ends between the two looks of a stream loses nothing."""
    from chat_ui.api import event_stream
    from chat_ui.api.run_files import Lines

    world = {"looks": 0}

    def look() -> bool:
        """Whether the run is over already: it writes and ends just after the first look, whatever that was at."""
        world["looks"] += 1
        return world["looks"] > 1

    def status() -> str:
        return "complete" if look() else "running"

    def read(after: int) -> Lines:
        over = look()
        return Lines([(9, b'{"a": 1}')], 9, False) if over and after == 0 else Lines([], after, False)

    async def collect() -> bytes:
        return b"".join([part async for part in event_stream._events(read, status, json.loads, 0)])

    events = messages_of(asyncio.run(asyncio.wait_for(collect(), 20)))
    kinds = [event["event"] for event in events]
    assert kinds == ["message", "end"], (
        f"the stream gave {kinds}: the status must be asked before the file is read, or the last line of a run that "
        "ends meanwhile is never sent"
    )


def check_log_lines_stay_lines(tmp_path: Path) -> None:
    """C13: a log line with carriage returns or line separators is one event, not several or none."""
    root = tmp_path / "runs"
    run = make_run(root, rows=0)
    lines = ["plain", "10%\r50%\rdone", "a\u2028b\x85c", "data: fake", "", "end\r"]
    (run.path / "log.txt").write_bytes(b"".join(line.encode() + b"\n" for line in lines))
    with app_on(root) as app:
        path = f"{RUNS}/pretrain/{run.path.name}/log"
        events = messages_of(ask(app, f"{path}/stream").body)
        listed = ask(app, path).json["lines"]
    got = [json.loads(event["data"])["line"] for event in events if event["event"] == "message"]
    wanted = ["plain", "done", "a\u2028b\x85c", "data: fake", "", "end"]
    assert got == wanted == listed, f"the stream gave {got} and the list {listed}, the log has {wanted}"


# ---- tokens


def check_text_is_text(text: str, app: Any, name: str) -> None:
    """Decoding gives the text back, and control words in it stay words."""
    encoded = post(app, f"{TOKENS}/encode", {"text": text, "tokenizer": name}).json
    special = set(ask(app, f"{TOKENS}/tokenizer", query=f"name={name}").json["special_tokens"].values())
    assert not special & set(encoded["ids"]), (
        f"the text {text!r} became a control token: text from outside is plain unless the request says otherwise"
    )
    decoded = post(app, f"{TOKENS}/decode", {"ids": encoded["ids"], "tokenizer": name}).json
    assert decoded["text"] == text and decoded["utf8"], f"{text!r} came back as {decoded['text']!r}"
    joined = bytes.fromhex("".join(piece["hex"] for piece in encoded["pieces"]))
    assert joined == text.encode(), "the pieces together are not the text"


# ---- numbers of configurations


def check_counts_are_those_of_the_model(tmp_path: Path) -> None:
    """C7: parameters and cache bytes are those of a model that is really built, for every attention."""
    shape = {"n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 96, "block_size": 24}
    with app_on(tmp_path) as app:
        question = {"shape": {"preset": "debug", "settings": shape}, "use": {"batch": 3, "context": 20}}
        counted = post(app, f"{MODEL}/parameter-count", question).json
    lines = {line["attention"]: line for line in counted["variants"]}
    assert set(lines) == {"mha", "gqa", "mla", "swa"}, f"variants are {sorted(lines)}"
    from gpt_model.config import preset, with_attention
    from gpt_model.gpt import GPT

    for name, line in lines.items():
        model = GPT(with_attention(preset("debug", **shape), name))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        cache = model.new_cache(3, 20)
        assert line["parameters"] == parameters, f"{name}: {line['parameters']} counted, {parameters} built"
        assert line["cache_bytes"] == cache.nbytes, (
            f"{name}: {line['cache_bytes']} said, {cache.nbytes} allocated"
        )
        assert line["weights_bytes"] == 4 * parameters, f"{name}: float32 has 4 bytes a number"
    own = counted["figures"]["parameters"]
    assert own["total"] == lines["mha"]["parameters"] == counted["tree"]["count"]
    assert lines["gqa"]["share_of_mha"] < 1


# ---- inside a model


def check_maps_are_the_shares(tmp_path: Path) -> None:
    """C7: `maps[l][h]` is the softmax of that layer's and head's scores, computed here by hand."""
    root = tmp_path / "runs"
    loaded = tiny()
    make_run(root, loaded=loaded)
    ids = [5, 9, 200, 9, 5, 77, 31]
    layers, heads = [1, 0], [3, 1]
    with app_on(root) as app:
        asked = {"model": f"pretrain/{RUN_ID}", "ids": ids, "layers": layers, "heads": heads}
        got = post(app, f"{MODEL}/visualize/attention", asked).json
    model, dim = loaded.model, loaded.config.head_dim
    entering: list[torch.Tensor] = []
    hooks = [
        b.attn.register_forward_pre_hook(lambda m, x: entering.append(x[0].detach())) for b in model.blocks
    ]
    model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    for at, layer in enumerate(layers):
        qkv = model.blocks[layer].attn.qkv_proj(entering[layer])[0].double()
        q, k, _ = (part.reshape(len(ids), 4, dim).transpose(0, 1) for part in qkv.split(16, dim=-1))
        scores = (q @ k.transpose(1, 2) / math.sqrt(dim)).masked_fill(
            torch.ones(len(ids), len(ids)).triu(1) > 0, -math.inf
        )
        for place, head in enumerate(heads):
            want = scores[head].softmax(-1)
            for row, shares in enumerate(got["maps"][at][place]):
                assert len(shares) == row + 1, "a row ends at its own token"
                assert np.allclose(shares, want[row, : row + 1].detach(), atol=2e-4), (
                    f"layer {layer} head {head}, row {row}: sent {shares}, by hand {want[row, : row + 1].tolist()}"
                )
    named = [(head["layer"], head["head"]) for head in got["summaries"]]
    assert named == [(layer, head) for layer in layers for head in heads], f"summaries are of {named}"


def check_next_token_is_the_distribution(tmp_path: Path) -> None:
    """C4: probabilities are softmax(logits); `drawn` is what temperature, top-k and top-p leave, by hand."""
    root = tmp_path / "runs"
    loaded = tiny()
    make_run(root, loaded=loaded)
    ids = [5, 9, 200, 9]
    temperature, top_k, top_p = 0.7, 12, 0.8
    question = {"model": f"pretrain/{RUN_ID}", "ids": ids, "top": 200}
    with app_on(root) as app:
        plain = post(app, f"{MODEL}/next-token", question).json
        shaped = post(
            app,
            f"{MODEL}/next-token",
            {**question, "temperature": temperature, "top_k": top_k, "top_p": top_p},
        ).json
        greedy = post(app, f"{MODEL}/next-token", {**question, "temperature": 0.0}).json
    logits = loaded.model(torch.tensor([ids])).logits[0, -1].detach().double().numpy()
    own = np.exp(logits - logits.max())
    own /= own.sum()
    for row in plain["top"]:
        assert abs(row["probability"] - own[row["id"]]) < 1e-6, (
            f"id {row['id']}: {row['probability']} {own[row['id']]}"
        )
        assert abs(row["drawn"] - own[row["id"]]) < 1e-6, "settings that change nothing must change nothing"
    assert abs(plain["entropy"] + float((own * np.log(own)).sum())) < 1e-5
    scaled = np.exp((logits - logits.max()) / temperature)
    best = np.argsort(-scaled)[:top_k]
    shares = scaled[best] / scaled[best].sum()
    keep = int(np.searchsorted(np.cumsum(shares), top_p)) + 1  # the smallest set that reaches p
    want = dict(zip(best[:keep].tolist(), (shares[:keep] / shares[:keep].sum()).tolist(), strict=True))
    got = {row["id"]: row["drawn"] for row in shaped["top"] if row["drawn"] > 0}
    assert got.keys() == want.keys() and shaped["candidates"] == len(want), (
        f"kept {sorted(got)}, by hand {sorted(want)}"
    )
    for token, share in want.items():
        assert abs(got[token] - share) < 1e-5, f"id {token}: drawn {got[token]}, by hand {share}"
    assert greedy["candidates"] == 1 and greedy["top"][0]["id"] == int(logits.argmax())


def check_lens_ends_with_the_model(tmp_path: Path) -> None:
    """C4: the last row of the lens is the model's own answer; surprise is -ln p of what came."""
    root = tmp_path / "runs"
    loaded = tiny()
    make_run(root, loaded=loaded)
    ids = [5, 9, 200, 9, 61]
    with app_on(root) as app:
        asked = {"model": f"pretrain/{RUN_ID}", "ids": ids, "top": 3}
        got = post(app, f"{MODEL}/logit-lens", asked).json
    logits = loaded.model(torch.tensor([ids])).logits[0].detach().double()
    log_probs = logits.log_softmax(-1)
    assert [line["layer"] for line in got["layers"]] == ["embed", "0", "1"]
    for place, opinion in enumerate(got["layers"][-1]["opinions"]):
        best = int(logits[place].argmax())
        assert opinion["guesses"][0]["id"] == best, (
            f"the last row guesses {opinion['guesses'][0]['id']}, not {best}"
        )
        assert abs(opinion["guesses"][0]["probability"] - float(log_probs[place, best].exp())) < 1e-5
    want = [-float(log_probs[place, token]) for place, token in enumerate(ids[1:])]
    assert np.allclose(got["surprise"], want, atol=1e-4), f"surprise {got['surprise']}, by hand {want}"


# ---- bad input


def check_refused(reply: Any, asked: str) -> None:
    """LS4: no 5xx; what is refused is refused in one line under `detail`."""
    assert reply.status < 500, f"{asked} broke the server: {reply.status} {reply.body[:300]!r}"
    if reply.status >= 400:
        detail = json.loads(reply.body)["detail"]
        assert isinstance(detail, str) and detail and "\n" not in detail and len(detail) <= 600, (
            f"{asked} is refused with {detail!r:.300}: one line that a person can act on is wanted"
        )


def check_schema(root: Path, examples: int = 6) -> None:
    """LS4: requests made from the routes' own OpenAPI schema, right and wrong ones: no 5xx, refusals in one line."""
    import hypothesis
    import schemathesis
    from fastapi.testclient import TestClient
    from hypothesis import strategies as st

    run = make_run(root, loaded=tiny())
    asked: list[int] = []
    with app_on(root) as app, TestClient(app, raise_server_exceptions=False) as client:
        schema = schemathesis.openapi.from_dict(app.openapi())
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) == 25, f"{len(operations)} operations are in the schema"

        def ask_case(case: Any, known: bool) -> None:
            body = case.body if isinstance(case.body, dict | list | str | int | float) else None
            parameters = {**(case.path_parameters or {})}
            query = {name: value for name, value in (case.query or {}).items()}
            if known:  # names that are there, so that what lies behind them is reached
                parameters = {"stage": "pretrain", "run_id": run.path.name}
                body = {**body, "model": ""} if isinstance(body, dict) and "model" in body else body
                query |= {"model": f"pretrain/{run.path.name}"} if "model" in query else {}
            path = case.path
            for name, value in parameters.items():
                path = path.replace(
                    "{" + name + "}", str(value).replace("/", "%2F").replace("?", "%3F") or "-"
                )
            sent: dict[str, Any] = {}
            if body is not None:
                sent = {"content": json.dumps(body), "headers": {"content-type": "application/json"}}
            reply = client.request(case.method, path, params=query, **sent)
            asked.append(reply.status_code)
            if reply.headers.get("content-type", "").startswith("application/json"):
                plain = SimpleNamespace(status=reply.status_code, body=reply.content)
                check_refused(plain, f"{case.method} {path} {query} {json.dumps(body)[:500]}")
            assert reply.status_code < 500, (
                f"{case.method} {path} {query} {body} broke the server: {reply.text[:300]}"
            )

        for operation in operations:
            few = 2 if "parameter-count" in operation.path or "compare" in operation.path else examples
            calm = hypothesis.settings(
                max_examples=few,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate],
            )
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                cases = operation.as_strategy(generation_mode=mode)
                with contextlib.suppress(
                    hypothesis.errors.Unsatisfiable
                ):  # nothing can be wrong with a bare GET
                    calm(hypothesis.given(cases, st.booleans())(ask_case))()
    assert 200 in asked and any(400 <= status < 500 for status in asked), "the fuzz never got through"
