"""The routes about tokens and transformers: what they answer, and how they refuse."""

from __future__ import annotations

import json
import shutil

import pytest
from rest_harness import RUN_ID, app_on, ask, make_run, post, save, tiny

TOKENS, MODEL = "/api/v1/tokenization", "/api/v1/transformer"
ID = f"pretrain/{RUN_ID}"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    root = tmp_path_factory.mktemp("rest") / "runs"
    make_run(root, loaded=tiny())
    for attention in ("gqa", "mla", "swa"):
        more = {"position": "rope"} if attention == "mla" else {"window": 8} if attention == "swa" else {}
        make_run(root, "pretrain", attention, loaded=tiny(attention, **more))
    with app_on(root) as app:
        yield app


# ---- tokens


def test_every_tokenizer_at_hand_is_listed(app):
    names = {line["name"]: line["kind"] for line in ask(app, f"{TOKENS}/tokenizers").json["tokenizers"]}
    assert names["byte"] == "byte" and names[ID] == "model"


def test_control_words_are_what_the_request_says(app):
    asked = {"text": "a<|endoftext|>", "tokenizer": ID}
    end = ask(app, f"{TOKENS}/tokenizer", query=f"name={ID}").json["special_tokens"]["<|endoftext|>"]
    assert end not in post(app, f"{TOKENS}/encode", asked).json["ids"]
    assert post(app, f"{TOKENS}/encode", {**asked, "special": "all"}).json["ids"] == [97, end]
    refused = post(app, f"{TOKENS}/encode", {**asked, "special": "refuse"})
    assert refused.status == 400 and "<|endoftext|>" in refused.json["detail"]


def test_only_so_many_pieces_are_described_as_were_asked_for(app):
    found = post(app, f"{TOKENS}/encode", {"text": "abcdef", "rows": 2}).json
    assert found["tokens"] == 6 and len(found["pieces"]) == 2 and len(found["ids"]) == 6


def test_half_a_character_is_said_to_be_one(app):
    found = post(app, f"{TOKENS}/decode", {"ids": [0xC3]}).json
    assert found == {"tokenizer": "byte", "text": "\ufffd", "utf8": False, "bytes": 1, "hex": "c3"}


def test_two_tokenizers_side_by_side(app):
    found = post(app, f"{TOKENS}/compare", {"text": "ab c", "tokenizers": ["byte", ID]}).json
    assert found["agreement"] == 1.0 and found["disputed_cuts"] == 0
    assert [cut["pieces"]["byte"] for cut in found["stretches"]] == [["a"], ["b"], ["·"], ["c"]]


def test_coverage_is_the_report(app):
    found = post(app, f"{TOKENS}/coverage", {"texts": ["banana"], "tokenizer": "byte", "shown": 1}).json
    assert found["top"] == [{"id": 97, "shown": "a", "count": 3, "share": 0.5}]
    assert post(app, f"{TOKENS}/coverage", {"texts": [""]}).status == 400


def test_a_price_is_tokens_times_the_price_of_a_million(app):
    asked = {
        "text": "x" * 1000, "tokenizers": ["byte"], "prices": {"a": {"input": 2.0, "output": 8.0}},
        "output_tokens": 500_000, "currency": "EUR",
    }  # fmt: skip
    (line,) = post(app, f"{TOKENS}/estimate-cost", asked).json["estimates"]
    assert (line["tokens"], line["input"], line["output"]) == (1000, pytest.approx(0.002), pytest.approx(4.0))
    assert line["shown"].endswith("EUR")
    without = {**asked, "prices": {"a": {"input": 1.0}}}
    assert post(app, f"{TOKENS}/estimate-cost", without).status == 400


# ---- shapes


def test_every_preset_can_be_asked_for(app):
    found = ask(app, f"{MODEL}/presets").json
    sizes = {line["name"]: line["parameters"] for line in found["presets"]}
    assert sizes["gpt2"] == 124_439_808 and sizes["mistral-7b"] == 7_241_732_096
    assert {"mha", "gqa", "mla", "swa"} <= set(found["attentions"])


def test_a_configuration_is_checked_and_resolved(app):
    found = post(
        app, f"{MODEL}/configure", {"preset": "debug", "settings": {"attention": "gqa", "n_kv_head": 1}}
    ).json
    assert found["changed"] == {"attention": "gqa", "n_kv_head": 1}
    assert found["derived"] == {"head_dim": 8, "hidden_width": 64, "kv_heads": 1}


def test_configurations_side_by_side_share_a_context(app):
    asked = {"shapes": [{"preset": "debug"}, {"preset": "tiny"}]}
    found = post(app, f"{MODEL}/compare", asked).json
    assert found["context"] == 32 and "n_embd" in found["differing"] and "n_layer" not in found["differing"]


@pytest.mark.parametrize(
    ("path", "asked", "says"),
    [
        ("configure", {"preset": "gtp2"}, "did you mean 'gpt2'"),
        ("configure", {"preset": "debug", "settings": {"n_layr": 3}}, "settings.n_layr"),
        ("configure", {"preset": "debug", "settings": {"n_layer": 10**9}}, "less than or equal to 128"),
        ("configure", {"preset": "debug", "settings": {"n_layer": -1}}, "n_layer"),
        ("configure", {"preset": "debug", "settings": {"n_layer": "3"}}, "n_layer"),
        ("configure", {"preset": "debug", "settings": {"n_embd": 15}}, "n_embd"),
        ("configure", {"preset": "debug", "settings": {"attention": "linear"}}, "choose one of"),
        ("configure", {"preset": "debug", "settings": {"window": 4}}, "only attention swa"),
        ("parameter-count", {"shape": {"preset": "debug"}, "use": {"context": 33}}, "block_size 32"),
        ("parameter-count", {"shape": {"preset": "debug"}, "use": {"dtype": "fp8"}}, "dtype"),
        ("compare", {"shapes": []}, "shapes"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else None,
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_one_line(app, path, asked, says):
    reply = post(app, f"{MODEL}/{path}", asked)
    assert 400 <= reply.status < 500 and says in reply.json["detail"], reply.body


def test_a_variant_that_the_shape_cannot_have_says_why(app):
    asked = {"shape": {"preset": "debug", "settings": {"position": "alibi"}}}
    lines = {
        line["attention"]: line for line in post(app, f"{MODEL}/parameter-count", asked).json["variants"]
    }
    assert lines["mha"]["cache_bytes"] and lines["mha"]["share_of_mha"] == 1.0
    for line in lines.values():
        assert (line["parameters"] is None) == (line["why_not"] is not None)


# ---- insides


@pytest.mark.parametrize(
    "name", [ID, "pretrain/gqa", "pretrain/mla", "pretrain/swa"], ids=["mha", "gqa", "mla", "swa"]
)
def test_every_attention_can_be_looked_into(app, name):
    asked = {"model": name, "text": "once upon a time", "begin": False}
    maps = post(app, f"{MODEL}/visualize/attention", asked).json
    assert len(maps["maps"]) == 2 and len(maps["maps"][0]) == 4 and len(maps["tokens"]) == 16
    for layer in maps["maps"]:
        for head in layer:
            assert all(abs(sum(row) - 1) < 2e-3 for row in head)
    if name.endswith("swa"):
        assert maps["windows"] == [8, 8] and maps["maps"][0][0][15][:8] == [0.0] * 8
    lens = post(app, f"{MODEL}/logit-lens", {**asked, "top": 2}).json
    assert [line["layer"] for line in lens["layers"]] == ["embed", "0", "1"] and len(lens["surprise"]) == 15
    following = post(app, f"{MODEL}/next-token", {**asked, "top": 3}).json
    assert len(following["top"]) == 3 and following["ids"] == maps["ids"]


def test_appending_a_token_is_asking_with_its_id(app):
    first = post(app, f"{MODEL}/next-token", {"model": ID, "text": "ab"}).json
    again = post(
        app, f"{MODEL}/next-token", {"model": ID, "ids": [*first["ids"], first["top"][0]["id"]]}
    ).json
    assert again["ids"][:-1] == first["ids"]


def test_the_pages_need_no_other_host(app):
    for page in ("visualize/attention/page", "logit-lens/page"):
        reply = ask(app, f"{MODEL}/{page}", query=f"model={ID}&text=once")
        assert reply.status == 200 and reply.headers["content-type"].startswith("text/html")
        assert b"default-src 'none'" in reply.body
        assert ask(app, f"{MODEL}/{page}", query=f"model={ID}&text=" + "x" * 300).status == 400


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"text": "x" * 49, "begin": False}, "at most 48"),
        ({"text": "", "begin": False}, "no tokens"),
        ({}, "either text or ids"),
        ({"text": "a", "ids": [1]}, "either text or ids"),
        ({"ids": [10**6]}, "ids from 0"),
        ({"ids": [-1]}, "greater than or equal to 0"),
        ({"text": "a", "temperature": -1.0}, "temperature"),
        ({"text": "a", "temperature": 1e9}, "temperature"),
        ({"text": "a", "top_p": 0.0}, "top_p"),
        ({"text": "a", "top": 10**9}, "top"),
        ({"text": "a", "model": "nobody"}, "nobody"),
        ({"text": 5}, "text"),
        ({"text": "a", "stop": ["x"]}, "stop"),
    ],
    ids=range(13),
)
def test_a_question_that_cannot_be_answered_is_one_line(app, asked, says):
    reply = post(app, f"{MODEL}/next-token", {"model": ID, **asked})
    assert 400 <= reply.status < 500 and says in reply.json["detail"], reply.body


def test_maps_that_are_too_many_or_not_there_are_refused(app, monkeypatch):
    asked = {"model": ID, "text": "once", "layers": [2]}
    assert "0 to 1" in post(app, f"{MODEL}/visualize/attention", asked).json["detail"]
    monkeypatch.setattr("chat_ui.limits.MAP_NUMBERS", 50)
    del asked["layers"]
    reply = post(app, f"{MODEL}/visualize/attention", asked)
    assert reply.status == 400 and "name fewer layers" in reply.json["detail"]


# ---- bodies


def raw(app, body: bytes, path: str = f"{TOKENS}/encode"):
    return ask(app, path, method="POST", body=body, headers=[(b"content-type", b"application/json")])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b'{"text": NaN}', 422),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "a", "rows": Infinity}', 422),
        (b'{"text": "a", "\\udfff": 1}', 422),
        (b"[" * 50_000, 400),
        (b'{"text": "' + b"x" * 300_000 + b'"}', 422),
        (b'{"text": "' + b"x" * 3_000_000 + b'"}', 413),
        (b"\xff\xfe", 422),
        (b'{"text": "a", "rows": ' + b"9" * 5000 + b"}", 422),
    ],
    ids=[
        "none",
        "torn",
        "nan",
        "surrogate",
        "infinity",
        "key",
        "deep",
        "long",
        "10-MB",
        "binary",
        "big-number",
    ],
)
def test_a_body_that_is_no_question_is_refused_in_one_short_line(app, body, status):
    reply = raw(app, body)
    assert 400 <= reply.status < 500 and len(reply.body) < 1000, reply.body[:300]
    assert reply.status in (status, 400), reply.body
    assert json.loads(reply.body)["detail"]


def test_too_much_at_once_is_told_to_wait(app):
    service = app.state.service
    with service._lock:
        before, service._tasks = service._tasks, 10**6
    try:
        reply = post(app, f"{TOKENS}/encode", {"text": "a"})
    finally:
        service._tasks = before
    assert reply.status == 429 and reply.headers["retry-after"]


# ---- models that cannot be used now


@pytest.fixture
def broken(tmp_path):
    root = tmp_path / "runs"
    run = make_run(root, loaded=tiny())
    with app_on(root) as app:
        yield app, run.path / "checkpoints" / "step_000002"


def test_a_checkpoint_that_is_being_written_is_not_whole(broken):
    app, folder = broken
    folder.rename(folder.with_name(".step_000002.abcd1234.tmp"))
    for path, asked in (
        (f"{MODEL}/next-token", {"model": ID, "text": "a"}),
        (f"{TOKENS}/encode", {"text": "a", "tokenizer": ID}),
    ):
        reply = post(app, path, asked)
        assert reply.status == 409, reply.body


def test_damaged_weights_are_said(broken):
    app, folder = broken
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert post(app, f"{MODEL}/next-token", {"model": ID, "text": "a"}).status == 409


def test_a_model_without_a_tokenizer_is_said(broken):
    app, folder = broken
    (folder / "tokenizer.json").unlink()
    reply = post(app, f"{TOKENS}/encode", {"text": "a", "tokenizer": ID})
    assert reply.status == 409 and "tokenizer.json" in reply.json["detail"]


def test_a_run_that_was_deleted_is_unknown_or_not_whole(broken):
    app, folder = broken
    assert post(app, f"{TOKENS}/encode", {"text": "a", "tokenizer": ID}).status == 200
    shutil.rmtree(folder.parents[1])
    assert post(app, f"{TOKENS}/encode", {"text": "a", "tokenizer": ID}).status in (404, 409)
    assert post(app, f"{MODEL}/next-token", {"model": ID, "text": "a"}).status in (404, 409)


def test_weights_that_are_no_numbers_are_said(tmp_path):
    loaded = tiny()
    loaded.model.final_norm.weight.data.fill_(float("nan"))
    root = tmp_path / "runs"
    make_run(root, loaded=loaded)
    with app_on(root) as app:
        for path in ("next-token", "logit-lens", "visualize/attention"):
            reply = post(app, f"{MODEL}/{path}", {"model": ID, "text": "ab"})
            assert reply.status < 500, f"{path}: {reply.body}"


def test_a_tokenizer_that_was_saved_again_is_read_again(tmp_path):
    from working_with_text_data import BPETokenizer

    root = tmp_path / "runs"
    run = make_run(root, loaded=tiny())
    with app_on(root) as app:
        assert len(post(app, f"{TOKENS}/encode", {"text": "ab", "tokenizer": ID}).json["ids"]) == 2
        BPETokenizer([(97, 98)]).save(run.path / "checkpoints" / "step_000002" / "tokenizer.json")
        assert post(app, f"{TOKENS}/encode", {"text": "ab", "tokenizer": ID}).json["ids"] == [256]


def test_no_model_at_all_says_how_to_make_one(tmp_path):
    with app_on(tmp_path / "runs") as app:
        reply = post(app, f"{MODEL}/next-token", {"text": "a"})
    assert reply.status in (400, 404) and "scratchbook demo" in reply.json["detail"]


def test_the_server_has_all_the_routes(tmp_path):
    from chat_ui.models import Models
    from chat_ui.server import create_app
    from chat_ui.service import Service

    save(tiny(), tmp_path / "m")
    app = create_app(service=Service(Models(root=tmp_path / "runs", assets=tmp_path / "none")))
    paths = app.openapi()["paths"]
    assert len([path for path in paths if path.startswith("/api/v1/")]) == 25
    for path, operations in paths.items():
        for operation in operations.values():
            if path.startswith("/api/v1/"):
                assert operation["description"], f"{path} says nothing about itself"
