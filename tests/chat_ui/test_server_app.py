"""The app around the rooms: health, documentation from this machine, a password, names, sizes, no model at all."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from server_harness import MODEL, service_on, tiny

from chat_ui.server import Options, create_app


@pytest.fixture
def app_with(tmp_path):
    """Makes a client of the app with some options, on the tiny model."""
    clients = []

    def make(**options):
        client = TestClient(create_app(Options(**options), service=service_on(tiny(), tmp_path)))
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.portal.call(client.app.state.service.close)
        client.__exit__(None, None, None)


def test_health_says_what_is_going_on(app_with):
    assert app_with().get("/health").json() == {"status": "ok", "version": "0.1.0", "answers": 0, "limit": 64}


def test_the_documentation_asks_no_other_host(app_with):
    client = app_with()
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"(?:src|href)=\"(https?:)?//", page.text)
    for asset in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page.text):
        assert client.get(asset).status_code == 200, asset
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_every_route_is_documented_with_its_answer(app_with):
    paths = app_with().get("/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/embeddings", "/health"} <= set(
        paths
    )
    for path, operations in paths.items():
        for method, operation in operations.items():
            schema = operation["responses"]["200"]["content"]
            assert operation.get("description") or operation.get("summary"), (method, path)
            assert schema, (method, path)


@pytest.mark.parametrize(
    ("headers", "auth"),
    [({"authorization": "Bearer sésame öffne"}, None), ({}, ("anyone", "sésame öffne"))],
    ids=["bearer", "basic"],
)
def test_a_password_opens_every_page(app_with, headers, auth):
    client = app_with(password="sésame öffne")
    raw = {name: value.encode() for name, value in headers.items()}
    for path in ("/v1/models", "/docs", "/openapi.json", "/api/v1/runs", "/nothing"):
        assert client.get(path).status_code == 401, path
    assert client.get("/health").status_code == 200
    encoded = None if auth is None else _Basic(*auth)
    opened = client.get("/v1/models", headers=raw, auth=encoded)
    assert opened.status_code == 200
    # From now on the browser's cookie is enough, and it is not the password.
    assert client.get("/docs").status_code == 200
    assert "sésame" not in opened.headers["set-cookie"] and "HttpOnly" in opened.headers["set-cookie"]


class _Basic:
    def __init__(self, name, password):
        import base64

        self.value = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    def __call__(self, request):
        request.headers["authorization"] = self.value
        return request


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Bearer ",
        "Basic !!!",
        "Basic d3Jvbmc=",
        "Basic OndvcmQ=",
        "word",
        "Bearer word word",
        "",
    ],
)
def test_a_wrong_password_opens_nothing(app_with, authorization):
    client = app_with(password="another word")
    answer = client.get("/v1/models", headers={"authorization": authorization, "cookie": "scratchbook=; a=b"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert "another" not in answer.text and "set-cookie" not in answer.headers


def test_only_under_its_own_names(app_with):
    client = app_with(hosts=("127.0.0.1", "localhost"))
    assert client.get("/health", headers={"host": "localhost:8000"}).status_code == 200
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_cors_only_where_it_was_asked_for(app_with):
    ask = {"origin": "https://one.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in app_with().options("/v1/models", headers=ask).headers
    allowed = app_with(cors=("https://one.example",), password="word").options("/v1/models", headers=ask)
    assert allowed.status_code == 200, "a preflight carries no password"
    assert allowed.headers["access-control-allow-origin"] == "https://one.example"


def test_no_model_at_all_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr("chat_ui.models.has_weights", lambda folder: False)
    monkeypatch.setattr("chat_ui.model_ids._gpt2_here", lambda: [])
    with TestClient(create_app(Options(runs=tmp_path))) as client:
        assert client.get("/v1/models").json()["data"] == []
        answer = client.post("/v1/completions", json={"model": "assets", "prompt": "x"})
        assert answer.status_code == 404 and "scratchbook demo" in answer.json()["error"]["message"]


def test_a_run_deleted_while_it_is_used(tmp_path):
    """What is being written goes on; who comes later is told; the others are served."""
    import shutil

    from chat_ui.models import Models
    from chat_ui.service import Service
    from utils.runs import Run

    run = Run.create("pretrain", {}, root=tmp_path / "runs")
    checkpoint = run.path / "checkpoints" / "step_000001"
    checkpoint.mkdir(parents=True)
    loaded = tiny()
    loaded.model.float().save_pretrained(checkpoint)
    loaded.tokenizer.save(checkpoint / "tokenizer.json")
    (run.path / "checkpoints" / "last").write_text("step_000001")
    run.finish()
    service = Service(Models(root=tmp_path / "runs"))
    with TestClient(create_app(service=service)) as client:
        id = f"pretrain/{run.id}"
        assert id in [model["id"] for model in client.get("/v1/models").json()["data"]]
        asked = {"model": id, "prompt": "x", "max_tokens": 5, "seed": 1}
        assert client.post("/v1/completions", json=asked).status_code == 200
        # A save in progress has a dotted name and no pointer: it is not a model yet.
        half = run.path / "checkpoints" / ".step_000002"
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half")
        assert client.post("/v1/completions", json=asked).status_code == 200
        with client.stream(
            "POST", "/v1/completions", json={**asked, "max_tokens": 200, "stream": True}
        ) as answer:
            shutil.rmtree(run.path)
            assert answer.read().endswith(b"data: [DONE]\n\n")
        gone = client.post("/v1/completions", json=asked)
        assert gone.status_code in (400, 404) and gone.json()["error"]["message"]
        client.portal.call(service.close)


def test_a_model_that_saved_again_is_another_model(tmp_path):
    """A checkpoint that is replaced while the old one writes: the old answer ends, the next one is of the new."""
    import asyncio

    from chat_ui.models import Models
    from chat_ui.service import Service

    models_on_disk = [tiny(seed=1), tiny(seed=2)]
    models = Models(first=str(tmp_path / "run"), root=tmp_path, load=lambda ref, device: models_on_disk[0])
    pointer = tmp_path / "run" / "checkpoints" / "last"
    pointer.parent.mkdir(parents=True)
    pointer.write_text("step_1")

    async def talk():
        service = Service(models)
        ref = str(tmp_path / "run")
        texts = []
        async with service.answer(ref, [97], max_new_tokens=100) as old:
            await anext(old)
            models_on_disk.pop(0)
            pointer.write_text("step_2")
            async with service.answer(ref, [97], max_new_tokens=5) as new:
                texts.append([piece async for piece in new])
            texts.append([piece async for piece in old])
        assert service.waiting == 0
        await service.close()
        return texts

    new, old = asyncio.run(talk())
    assert new[-1].finish_reason == old[-1].finish_reason == "length"
    assert len(old) == 99


def test_the_service_refuses_what_cannot_be_served(tmp_path):
    import asyncio

    from utils.errors import RunFailure, UserError

    async def talk():
        service = service_on(tiny(), tmp_path)
        for ids, more, word in (
            ([], {}, "empty"),
            ([9999], {}, "knows 0 to"),
            ([1], {"n": 17}, "1 to 16"),
            ([1], {"n": 0}, "1 to 16"),
            ([1] * 300, {}, "block_size"),
            ([1], {"stop": [""]}, "empty"),
            ([1], {"logprobs": -1}, "logprobs"),
        ):
            with pytest.raises(UserError, match=word):
                async with service.answer(MODEL, ids, max_new_tokens=5, **more):
                    pass
        assert service.waiting == 0, "a refused answer kept its place"
        await service.close()
        await service.close()
        with pytest.raises(RunFailure, match="stopping"):
            async with service.answer(MODEL, [1], max_new_tokens=5):
                pass

    asyncio.run(talk())
