"""The inspector's pages over HTTP, without a browser: addresses, wrong names, no model, a password."""

from __future__ import annotations

import shutil
from urllib.parse import quote

import inspector_checks as checks
import pytest

pytest.importorskip("nicegui", reason="the serve extra is not installed: pip install -e '.[serve]'")

import httpx

PAGES = ["/", "/runs", "/compare", "/tokens", "/calculator", "/look", "/data", f"/run/{checks.MODEL}"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages") / "runs"
    checks.fill(root)
    with checks.house(root) as house:
        yield house


@pytest.fixture
def client(house):
    with httpx.Client(base_url=house.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_an_address(client, path):
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "LLM Scratchbook" in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "pretrain/none",
        "..%2f..%2fetc/passwd",
        "pretrain/..%2fsecret",
        f"{quote('<script>alert(1)</script>')}/x",
        "a/" + "b" * 3000,
    ],
    ids=["unknown", "dots", "way up", "script", "long"],
)
def test_a_run_that_is_not_there_is_a_404_that_says_so(client, name):
    answer = client.get(f"/run/{name}")
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "/tokens?tokenizer=nobody&beside=../../etc/passwd&input=-5&output=NaN&answer=1e400",
        "/look?model=../../etc&view=nothing&temperature=-3&top_k=x&top_p=7",
        "/calculator?preset=none&n_layer=999999999&context=-1&attention=magic&dtype=int1",
        "/compare?runs=a&runs=b/c&runs=../d&value=%00&x=z&log=maybe",
        "/data?source=/etc/passwd&first=-9999999999",
        "/runs?stage=%27%22%3E%3Cb%3E&status=none&text=" + "x" * 5000,
    ],
    ids=["tokens", "look", "calculator", "compare", "data", "runs"],
)
def test_a_wrong_address_is_still_a_page(client, query):
    answer = client.get(query)
    assert answer.status_code == 200, answer.text[:300]


def test_a_page_lives_through_a_run_that_is_deleted(house, client):
    from utils.runs import Run

    run = Run.create("pretrain", {}, root=house.root, run_id="short-lived")
    run.finish("complete")
    assert client.get("/run/pretrain/short-lived").status_code == 200
    shutil.rmtree(run.path)
    assert client.get("/run/pretrain/short-lived").status_code == 404
    assert client.get("/compare?runs=pretrain/short-lived").status_code == 200


def test_a_damaged_run_is_one_line(house, client):
    folder = house.root / "pretrain" / "damaged"
    folder.mkdir()
    (folder / "run.json").write_text("{")
    try:
        answer = client.get("/run/pretrain/damaged")
        assert answer.status_code == 404 and "cannot be read now" in answer.text
        assert client.get("/runs").status_code == 200
    finally:
        shutil.rmtree(folder)
