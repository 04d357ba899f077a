"""The model picker: what is on disk is offered, what is asked for is loaded once."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from chat_ui.models import Models
from utils.errors import UserError
from utils.runs import Run


def make_run(root, stage: str, *, weights: bool = True) -> Run:
    run = Run.create(stage, {}, root=root)
    if weights:
        folder = run.path / "checkpoints" / "step_000001"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x")
    run.finish("complete")
    time.sleep(0.002)  # `start` orders runs
    return run


class Loader:
    def __init__(self, delay: float = 0.0) -> None:
        self.asked: list[str] = []
        self.delay = delay

    def __call__(self, ref, *, device):
        self.asked.append(ref)
        time.sleep(self.delay)
        return SimpleNamespace(ref=ref, tokenizer=object(), model=SimpleNamespace(eval=lambda: None))


def test_the_newest_demo_comes_first_then_the_book_then_every_run(tmp_path):
    runs, book = tmp_path / "runs", tmp_path / "assets"
    old = make_run(runs, "demo")
    pretrained = make_run(runs, "pretrain")
    make_run(runs, "pretrain", weights=False)
    new = make_run(runs, "demo")
    book.mkdir()
    (book / "model.safetensors").write_bytes(b"x")
    refs = [choice.ref for choice in Models(root=runs, assets=book).choices()]
    assert refs == [str(new.path), "assets", str(old.path), str(pretrained.path)]


def test_an_adapter_is_told_from_a_whole_model_and_gpt2_comes_last(tmp_path, monkeypatch):
    run = make_run(tmp_path, "instruct")
    (run.path / "checkpoints" / "step_000001" / "adapter_config.json").write_text("{}")
    monkeypatch.setattr("chat_ui.models.gpt2_here", lambda: ["gpt2", "gpt2-medium"])
    choices = Models(root=tmp_path, assets=tmp_path / "none").choices()
    assert [choice.ref for choice in choices] == [str(run.path), "gpt2", "gpt2-medium"]
    assert choices[0].label.endswith("(adapter)") and "Hugging Face" in choices[1].label


def test_a_run_that_finishes_later_is_offered_without_a_restart(tmp_path):
    models = Models(root=tmp_path, assets=tmp_path / "none")
    with pytest.raises(UserError, match="scratchbook demo"):
        models.default()
    run = make_run(tmp_path, "pretrain")
    assert models.default() == str(run.path)


def test_what_was_asked_for_is_the_default(tmp_path):
    make_run(tmp_path, "demo")
    models = Models(first="some/folder", root=tmp_path, assets=tmp_path / "none")
    assert models.default() == "some/folder"
    assert models.choices()[0].label == "folder (--ckpt)"


def test_a_model_that_is_named_twice_is_offered_once(tmp_path):
    book = tmp_path / "assets"
    book.mkdir()
    (book / "model.safetensors").write_bytes(b"x")
    choices = Models(first="assets", root=tmp_path / "runs", assets=book).choices()
    assert [(choice.ref, choice.label) for choice in choices] == [("assets", "assets (--ckpt)")]


def test_two_chats_that_open_at_once_load_one_model(tmp_path):
    loader = Loader(delay=0.05)
    models = Models(root=tmp_path, load=loader)
    threads = [threading.Thread(target=models.get, args=("a",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loader.asked == ["a"]


def test_the_model_used_longest_ago_leaves_the_shelf(tmp_path):
    loader = Loader()
    models = Models(root=tmp_path, load=loader, capacity=2)
    for ref in ("a", "b", "a", "c", "a", "b"):
        assert models.get(ref).ref == ref
    assert loader.asked == ["a", "b", "c", "b"]


def test_a_run_that_saved_again_is_loaded_again(tmp_path):
    loader = Loader()
    run = make_run(tmp_path, "pretrain")
    pointer = run.path / "checkpoints" / "last"
    models = Models(root=tmp_path, load=loader)
    for step in ("step_000001", "step_000001", "step_000002"):
        pointer.write_text(step)
        models.get(str(run.path))
    assert len(loader.asked) == 2


def test_weights_without_a_tokenizer_are_one_clear_line(tmp_path):
    def load(ref, *, device):
        config = SimpleNamespace(vocab_size=300)
        return SimpleNamespace(tokenizer=None, model=None, path=tmp_path, config=config)

    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Models(root=tmp_path, load=load).get("x")
