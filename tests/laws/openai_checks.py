"""What /v1 must keep (LS4, and LS2 over the wire): OpenAI's own client is served, bad input is a 4xx with a reason."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import torch
from chat_checks import spelled
from chat_harness import Engine
from server_harness import MODEL, client_of, served, service_on, tiny, until
from template_checks import END

CHAT = [{"role": "user", "content": "hello there"}]


def prompt_of(loaded: Any, text: str = "hello there") -> list[int]:
    """The ids of the question CHAT, written out by hand."""
    return spelled(loaded.tokenizer, "<|user|>", text, END, "<|assistant|>")


def written(loaded: Any, ids: list[int], length: int, **sampling: Any) -> str:
    from gpt_model.generation import Sampling, generate

    rows = generate(loaded.model, [ids], max_new_tokens=length, sampling=Sampling(**sampling))
    return loaded.tokenizer.decode(rows[0])


def check_chat(root: Path) -> None:
    """Whole, streamed, n, seed, usage and settings: what the client reads is what the model writes alone."""
    loaded = tiny()
    ids = prompt_of(loaded)
    with served(service_on(loaded, root)) as url:
        client = client_of(url)
        asked = dict(model=MODEL, messages=CHAT, max_tokens=30, n=2, seed=7, temperature=0.9, top_p=0.9)
        expected = [written(loaded, ids, 30, seed=seed, temperature=0.9, top_p=0.9) for seed in (7, 8)]
        answer = client.chat.completions.create(**asked)
        texts = [choice.message.content for choice in answer.choices]
        assert texts == expected, f"/v1 answered {texts}, the model writes {expected}"
        assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), 60)
        assert answer.usage.total_tokens == len(ids) + 60 and answer.object == "chat.completion"
        streamed, roles, ends, usage = ["", ""], [None, None], [None, None], None
        for chunk in client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        ):
            usage = chunk.usage
            for choice in chunk.choices:
                assert ends[choice.index] is None, "a chunk came after the end of its answer"
                streamed[choice.index] += choice.delta.content or ""
                roles[choice.index] = choice.delta.role or roles[choice.index]
                ends[choice.index] = choice.finish_reason
        assert streamed == expected, f"streamed {streamed}, whole {expected}"
        assert roles == ["assistant"] * 2 and ends == ["length"] * 2
        assert usage is not None and usage == answer.usage, "the last chunk counts the tokens"
        greedy = client.chat.completions.create(
            model=MODEL, messages=CHAT, temperature=0, max_completion_tokens=9
        )
        assert greedy.choices[0].message.content == written(loaded, ids, 9, temperature=0.0)
        everything = client.chat.completions.create(model=MODEL, messages=CHAT, seed=1, max_tokens=100_000)
        left = loaded.config.block_size - len(ids) + 1
        assert everything.usage.completion_tokens == left, "a limit above the context is what is left of it"
        parts = [
            {
                "role": "user",
                "content": [{"type": "text", "text": "hello "}, {"type": "text", "text": "there"}],
            }
        ]
        same = client.chat.completions.create(**{**asked, "messages": parts})
        assert [choice.message.content for choice in same.choices] == expected


def check_stream_ends_as_openais(root: Path) -> None:
    """The bytes on the wire: one `data:` line an event, the last one `[DONE]`."""
    import httpx

    with served(service_on(tiny(), root)) as url:
        body = {"model": MODEL, "messages": CHAT, "max_tokens": 3, "stream": True}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-1] == "" and all(event.startswith("data: ") for event in events[:-1])
    assert events[-2] == "data: [DONE]", "a client that waits for [DONE] waits for ever"
    first = json.loads(events[0].removeprefix("data: "))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["choices"][0]["finish_reason"] is None and "usage" not in first


def check_logprobs(root: Path) -> None:
    """Log-probabilities are the model's own, before temperature: those of one plain forward pass."""
    loaded = tiny()
    ids = prompt_of(loaded)
    with served(service_on(loaded, root)) as url:
        client = client_of(url)
        asked = dict(
            model=MODEL, messages=CHAT, max_tokens=12, seed=3, temperature=0.5, logprobs=True, top_logprobs=3
        )
        answer = client.chat.completions.create(**asked).choices[0]
        streamed = [
            token
            for chunk in client.chat.completions.create(**asked, stream=True)
            if chunk.choices[0].logprobs
            for token in chunk.choices[0].logprobs.content
        ]
        echo = client.completions.create(model=MODEL, prompt=[ids], max_tokens=0, echo=True, logprobs=2)
    tokens = answer.logprobs.content
    assert "".join(token.token for token in tokens) == answer.message.content
    assert streamed == tokens, "a stream tells other log-probabilities than the whole answer"
    full = [*ids, *(token.bytes[0] for token in tokens)]
    with torch.no_grad():
        table = loaded.model(torch.tensor([full])).logits[0].log_softmax(-1)
    for place, token in enumerate(tokens):
        row = table[len(ids) + place - 1]
        want = float(row[token.bytes[0]])
        assert abs(token.logprob - want) < 1e-9, (
            f"token {place} has log-probability {token.logprob}, by the model's own distribution {want}"
        )
        likeliest = row.topk(3).indices.tolist()
        assert [top.bytes[0] for top in token.top_logprobs] == likeliest
    told = echo.choices[0].logprobs.token_logprobs
    assert told[0] is None and len(told) == len(ids)
    for place in range(1, len(ids)):
        want = float(table[place - 1][ids[place]])
        assert abs(told[place] - want) <= 1e-6 * max(1.0, abs(want)), "an echoed prompt is scored wrong"


def check_completions(root: Path) -> None:
    """Texts begin a document; ids are taken as they are; several prompts and n keep their order; stop and echo."""
    loaded = tiny()
    tokenizer = loaded.tokenizer
    with served(service_on(loaded, root)) as url:
        client = client_of(url)
        prompts = ["once upon", "the sea"]
        expected = [
            written(loaded, spelled(tokenizer, END, prompt), 25, seed=seed)
            for prompt in prompts
            for seed in (5, 6)
        ]
        asked = dict(model=MODEL, prompt=prompts, max_tokens=25, seed=5, n=2)
        answer = client.completions.create(**asked)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        texts = [choice.text for choice in answer.choices]
        assert texts == expected, f"{texts}, not {expected}: a text begins a document, each n has its seed"
        streamed = [""] * 4
        for chunk in client.completions.create(**asked, stream=True, echo=True):
            streamed[chunk.choices[0].index] += chunk.choices[0].text
        assert streamed == [prompts[i // 2] + text for i, text in enumerate(expected)]
        ids = list(b"plain ids")
        answer = client.completions.create(model=MODEL, prompt=ids, max_tokens=20, seed=1)
        assert answer.choices[0].text == written(loaded, ids, 20, seed=1)
        stop = expected[0][6:9]  # across three tokens
        answer = client.completions.create(
            model=MODEL, prompt=prompts[0], max_tokens=25, seed=5, stop=[stop, "#"]
        )
        shown = expected[0].partition(stop)[0]
        assert answer.choices[0].text == shown, (
            f"stop {stop!r}: shown {answer.choices[0].text!r}, not {shown!r}"
        )
        assert answer.choices[0].finish_reason == "stop"
        empty = client.completions.create(model=MODEL, prompt="", max_tokens=4, seed=1)
        assert empty.choices[0].text == written(loaded, spelled(tokenizer, END), 4, seed=1)
        bias = client.completions.create(
            model=MODEL, prompt="x", max_tokens=5, logit_bias={str(ord("q")): 100}
        )
        assert bias.choices[0].text == "qqqqq"


def check_embeddings(root: Path) -> None:
    """The mean hidden state over the real tokens of each text, whatever else is in the batch; two encodings."""
    from gpt_model.trace import trace

    loaded = tiny()
    texts = ["a", "a rather longer text than that", "hello"]
    expected = []
    for text in texts:
        with torch.no_grad(), trace(loaded.model, "final_norm") as store:
            loaded.model(torch.tensor([list(text.encode())]))
        expected.append(store["final_norm"][0].mean(0).float())
    with served(service_on(loaded, root)) as url:
        client = client_of(url)
        numbers = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
        packed = client.embeddings.create(model=MODEL, input=texts)
        raw = client.embeddings.with_raw_response.create(
            model=MODEL, input=texts[0], encoding_format="base64"
        )
    assert numbers.usage.prompt_tokens == sum(map(len, texts))
    for got, same, want in zip(numbers.data, packed.data, expected, strict=True):
        difference = (torch.tensor(got.embedding) - want).abs().max()
        assert difference < 1e-5, f"off by {difference}: is padding in the mean?"
        assert same.embedding == got.embedding
    data = base64.b64decode(json.loads(raw.text)["data"][0]["embedding"])
    assert len(data) == 4 * loaded.config.n_embd


def check_models(root: Path) -> None:
    """What is listed can be asked, and nothing else: no id reaches a file."""
    import openai

    with served(service_on(tiny(), root)) as url:
        client = client_of(url)
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).id == MODEL
        for id in (
            "gtp2",
            "../tiny",
            "/etc/passwd",
            "tiny/../tiny",
            "assets/../../etc",
            "tiny\0",
            "x" * 200,
            ".",
        ):
            try:
                client.completions.create(model=id, prompt="x", max_tokens=1)
            except openai.NotFoundError as error:
                assert error.code == "model_not_found" and error.param == "model"
            else:
                raise AssertionError(f"the id {id!r} was served")


# Every one of these is a mistake of the client: (what is wrong, the body, a word that the reason must name).
BAD: list[tuple[str, Any, str]] = [
    ("no model", {"messages": CHAT}, "model"),
    ("unknown model", {"model": "gtp2", "messages": CHAT}, "gtp2"),
    ("no messages", {"model": MODEL}, "messages"),
    ("empty conversation", {"model": MODEL, "messages": []}, "messages"),
    ("unknown role", {"model": MODEL, "messages": [{"role": "tool", "content": "x"}]}, "role"),
    ("late system line", {"model": MODEL, "messages": [*CHAT, {"role": "system", "content": "x"}]}, "system"),
    (
        "an image",
        {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "type",
    ),
    ("long prompt", {"model": MODEL, "messages": [{"role": "user", "content": "x" * 5000}]}, "256"),
    ("tools", {"model": MODEL, "messages": CHAT, "tools": [{"type": "function"}]}, "tools"),
    (
        "json mode",
        {"model": MODEL, "messages": CHAT, "response_format": {"type": "json_object"}},
        "response_format",
    ),
    ("a field of nobody", {"model": MODEL, "messages": CHAT, "temprature": 1}, "temprature"),
    ("half a surrogate pair as a name", {"model": MODEL, "messages": CHAT, "\ud800": 1}, "unicode"),
    ("half a surrogate pair as a model", {"model": "\ud800", "messages": CHAT}, "model"),
    (
        "half a surrogate pair as text",
        {"model": MODEL, "messages": [{"role": "user", "content": "\udfff"}]},
        "content",
    ),
    ("negative temperature", {"model": MODEL, "messages": CHAT, "temperature": -1}, "temperature"),
    ("huge temperature", {"model": MODEL, "messages": CHAT, "temperature": 1e300}, "temperature"),
    ("a temperature that is none", b'{"model": "tiny", "messages": [], "temperature": NaN}', "temperature"),
    ("text as a number", {"model": MODEL, "messages": CHAT, "temperature": "1"}, "temperature"),
    ("top_p of 0", {"model": MODEL, "messages": CHAT, "top_p": 0}, "top_p"),
    ("n of 0", {"model": MODEL, "messages": CHAT, "n": 0}, "n"),
    ("a million answers", {"model": MODEL, "messages": CHAT, "n": 1_000_000}, "n"),
    ("no tokens", {"model": MODEL, "messages": CHAT, "max_tokens": 0}, "max_tokens"),
    ("negative length", {"model": MODEL, "messages": CHAT, "max_tokens": -5}, "max_tokens"),
    ("huge length", {"model": MODEL, "messages": CHAT, "max_tokens": 10**30}, "max_tokens"),
    ("two limits", {"model": MODEL, "messages": CHAT, "max_tokens": 5, "max_completion_tokens": 6}, "differ"),
    ("empty stop", {"model": MODEL, "messages": CHAT, "stop": [""]}, "stop"),
    ("many stops", {"model": MODEL, "messages": CHAT, "stop": ["a"] * 100}, "stop"),
    ("unknown id in logit_bias", {"model": MODEL, "messages": CHAT, "logit_bias": {"99999": 1}}, "99999"),
    ("no id in logit_bias", {"model": MODEL, "messages": CHAT, "logit_bias": {"x": 1}}, "logit_bias"),
    ("huge bias", {"model": MODEL, "messages": CHAT, "logit_bias": {"5": 1e9}}, "logit_bias"),
    ("huge seed", {"model": MODEL, "messages": CHAT, "seed": 2**64}, "seed"),
    ("alternatives alone", {"model": MODEL, "messages": CHAT, "top_logprobs": 2}, "logprobs"),
    ("usage of no stream", {"model": MODEL, "messages": CHAT, "stream_options": {}}, "stream"),
    ("unknown template", {"model": MODEL, "messages": CHAT, "template": "nobody"}, "nobody"),
    ("no JSON", b"{", ""),
    ("no object", b"[1, 2]", ""),
    ("nothing", b"", ""),
    ("no text", b"\xff\xfe\x00", ""),
    ("a very long number", b'{"seed": ' + b"9" * 10_000 + b"}", ""),
    ("deeply nested", b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", ""),
]
BAD_COMPLETIONS: list[tuple[str, Any, str]] = [
    ("no such id", {"model": MODEL, "prompt": [1, 100_000]}, "100000"),
    ("negative id", {"model": MODEL, "prompt": [-1]}, "prompt"),
    ("empty list", {"model": MODEL, "prompt": []}, "prompt"),
    ("empty ids", {"model": MODEL, "prompt": [[1], []]}, "prompt"),
    ("mixed", {"model": MODEL, "prompt": ["a", [1]]}, "prompt"),
    ("many prompts", {"model": MODEL, "prompt": ["a"] * 1000}, "prompt"),
    ("prompts times n", {"model": MODEL, "prompt": ["a"] * 30, "n": 16}, "480"),
    ("echo of an unknown id", {"model": MODEL, "prompt": [100_000], "echo": True, "logprobs": 1}, "100000"),
    ("best_of", {"model": MODEL, "prompt": "a", "best_of": 3}, "best_of"),
    ("suffix", {"model": MODEL, "prompt": "a", "suffix": "b"}, "suffix"),
    ("long text", {"model": MODEL, "prompt": "a" * 300_000}, "prompt"),
]
BAD_EMBEDDINGS: list[tuple[str, Any, str]] = [
    ("nothing to embed", {"model": MODEL, "input": ""}, "empty"),
    ("empty ids", {"model": MODEL, "input": [[]]}, "input"),
    ("too long", {"model": MODEL, "input": "x" * 300}, "256"),
    ("no such id", {"model": MODEL, "input": [100_000]}, "0 to"),
    ("other size", {"model": MODEL, "input": "x", "dimensions": 5}, "dimensions"),
]


def check_bad_requests(root: Path) -> None:
    """LS4: whatever is sent, a mistake of the client is a 4xx with one line that names it, and the server lives."""
    import httpx

    routes = {"chat/completions": BAD, "completions": BAD_COMPLETIONS, "embeddings": BAD_EMBEDDINGS}
    with served(service_on(tiny(), root)) as url, httpx.Client(timeout=60) as client:
        for route, cases in routes.items():
            for what, body, word in cases:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                for stream in (b"", b', "stream": true}'):
                    if stream and (not content.endswith(b"}") or route == "embeddings" or "stream" in what):
                        continue
                    sent = content[:-1] + stream if stream else content
                    answer = client.post(
                        f"{url}/v1/{route}", content=sent, headers={"content-type": "application/json"}
                    )
                    assert 400 <= answer.status_code < 500, (
                        f"{route}, {what}: answered {answer.status_code} {answer.text[:200]!r}, not a 4xx"
                    )
                    error = answer.json()["error"]
                    line = error["message"]
                    assert line and "\n" not in line and len(line) <= 500, f"{route}, {what}: {line[:200]!r}"
                    assert word in line, f"{route}, {what}: the reason {line!r} does not name {word!r}"
                    assert set(error) == {"message", "type", "param", "code"}
        big = client.post(f"{url}/v1/completions", json={"model": MODEL, "prompt": "x" * 10_000_000})
        assert big.status_code == 413 and "2000000" in big.json()["error"]["message"]
        # Also when no length is said: it comes in pieces.
        pieces = client.post(f"{url}/v1/completions", content=(b"x" * 100_000 for _ in range(100)))
        assert pieces.status_code == 413
        for path, status in (("/v1/nothing", 404), ("/v1/models/no/such", 404), ("/v1/completions", 405)):
            answer = client.get(f"{url}{path}")
            assert answer.status_code == status and answer.json()["error"]["message"]
        alive = client.post(f"{url}/v1/completions", json={"model": MODEL, "prompt": "x", "max_tokens": 2})
        assert alive.status_code == 200, "after all that the server no longer writes"


def check_going_away_stops(root: Path, *, stream: bool) -> None:
    """LS2 over the wire: a client that closes its connection ends its answer, streamed or not."""
    import httpx

    loaded = tiny()
    engine = Engine(loaded, pause=0.02)
    service = service_on(loaded, root)
    with served(service) as url:
        body = {"model": MODEL, "messages": CHAT, "max_tokens": 240, "stream": stream}
        if stream:
            with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
                for number, _ in enumerate(answer.iter_lines()):
                    if number == 8:
                        break
        else:
            with contextlib.suppress(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.3)
        deadline = time.monotonic() + 30
        while service.waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not service.waiting, "the client went away, and its answer is still there"
        seen = engine.passes
        assert seen < 200, f"the client went away early, and {seen} tokens were written all the same"
        time.sleep(0.2)
        assert engine.passes - seen <= 1, "tokens are still being written"
        assert engine.live_caches() == 0
        # Mixed in: the next client is served.
        answer = httpx.post(
            f"{url}/v1/chat/completions", json={**body, "max_tokens": 2, "stream": False}, timeout=60
        )
        assert answer.status_code == 200


def check_busy_is_429(root: Path) -> None:
    """A bounded queue: one answer too many is a 429 that says so, and later there is room again."""
    import httpx

    loaded = tiny()
    Engine(loaded, pause=0.02)
    service = service_on(loaded, root, max_answers=3)
    with served(service) as url:
        body = {"model": MODEL, "prompt": "x", "max_tokens": 100}
        threads = [
            threading.Thread(
                target=httpx.post, args=(f"{url}/v1/completions",), kwargs={"json": body, "timeout": 60}
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until(lambda: service.waiting == 3, "three answers are being written")
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 429, f"the fourth of three answers got a {answer.status_code}"
        assert answer.headers["retry-after"] and "limit 3" in answer.json()["error"]["message"]
        for thread in threads:
            thread.join(60)
        again = httpx.post(f"{url}/v1/completions", json={**body, "max_tokens": 1}, timeout=60)
        assert again.status_code == 200 and service.waiting == 0


def check_broken_engine(root: Path) -> None:
    """A step that fails is an error for those who wait, whole or in the stream, and not the end of the server."""
    import openai

    loaded = tiny()
    broken = threading.Event()

    def fail(*_: Any) -> None:
        if broken.is_set():
            raise RuntimeError("out of memory")

    loaded.model.register_forward_pre_hook(fail)
    with served(service_on(loaded, root)) as url:
        client = client_of(url)
        asked = dict(model=MODEL, messages=CHAT, max_tokens=3, seed=1)
        before = client.chat.completions.create(**asked).choices[0].message.content
        broken.set()
        for stream in (False, True):
            try:
                answer = client.chat.completions.create(**asked, stream=stream)
                list(answer)
            except openai.APIError as error:
                assert "out of memory" in str(error)
            else:
                raise AssertionError("the engine failed and nobody was told")
        broken.clear()
        after = client.chat.completions.create(**asked).choices[0].message.content
        assert after == before, "after a failure the engine writes something else"


def check_schema(root: Path, examples: int = 12) -> None:
    """LS4: requests made from the OpenAPI schema of /v1, right and wrong ones: never a 5xx, never a hang."""
    import hypothesis
    import schemathesis
    from fastapi.testclient import TestClient

    from chat_ui.server import create_app

    service = service_on(tiny(block_size=64), root)
    app = create_app(service=service)
    with TestClient(app) as client:
        values = client.get("/openapi.json").json()
    values["paths"] = {path: each for path, each in values["paths"].items() if path.startswith("/v1/")}
    assert len(values["paths"]) == 5
    schema = schemathesis.openapi.from_dict(values)
    client = TestClient(app, raise_server_exceptions=False)
    operations = [result.ok() for result in schema.get_all_operations()]
    asked: list[int] = []
    failed: list[Any] = []

    def ask(case: Any, known: bool) -> None:
        body = case.body if isinstance(case.body, dict | list | str | int | float) else None
        if known and isinstance(body, dict):
            body = {**body, "model": MODEL}
        sent = (
            {}
            if body is None
            else {"content": json.dumps(body), "headers": {"content-type": "application/json"}}
        )
        answer = client.request(case.method, case.formatted_path, **sent)
        asked.append(answer.status_code)
        if answer.status_code >= 500:
            failed.append((case.method, case.formatted_path, body, answer.text))

    calm = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    with client:
        for operation in operations:
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                cases = operation.as_strategy(generation_mode=mode)
                with contextlib.suppress(
                    hypothesis.errors.Unsatisfiable
                ):  # nothing can be wrong with a bare GET
                    calm(hypothesis.given(cases, hypothesis.strategies.booleans())(ask))()
        client.portal.call(service.close)
    assert not failed, f"{len(failed)} requests got a 5xx, such as {failed[0]}"
    assert 200 in asked and any(400 <= status < 500 for status in asked), "the fuzz never reached the model"
