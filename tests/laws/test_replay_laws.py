"""Replay: pages of the base's training text among the conversations; its share, its errors, its command."""

from __future__ import annotations

import pytest
from replay_checks import (
    PAGE,
    check_pages_are_the_share_of_everything,
    check_pages_are_the_training_part,
    pretrained,
)

from finetuning.instruction import train
from finetuning.instruction.replay import pages_for, replay_pages
from finetuning.instruction.train_config import InstructionConfig
from utils.errors import UserError
from utils.runs import list_runs


def test_pages_are_the_training_part(tmp_path):
    check_pages_are_the_training_part(tmp_path)


def test_pages_are_the_share_of_everything(tmp_path):
    check_pages_are_the_share_of_everything(tmp_path)


def test_a_short_text_begins_again(tmp_path):
    loaded, text, _ = pretrained(tmp_path)
    whole = len(loaded.tokenizer.encode(text, allowed_special="all")) // PAGE
    pages = replay_pages(loaded.path, loaded.tokenizer, whole + 3, PAGE)
    assert len(pages) == whole + 3 and pages[whole:] == pages[:3]


def test_a_text_shorter_than_a_page_is_refused(tmp_path):
    loaded, _, _ = pretrained(tmp_path, texts=2)
    with pytest.raises(UserError, match="less than one page of 500: set replay=0"):
        replay_pages(loaded.path, loaded.tokenizer, 1, 500)


def test_a_model_that_does_not_know_its_text_is_refused(tmp_path, capsys):
    loaded, _, _ = pretrained(tmp_path)
    lost = tmp_path / "elsewhere"
    lost.mkdir()
    with pytest.raises(UserError, match="set replay=0"):
        replay_pages(lost, loaded.tokenizer, 1, PAGE)


def test_no_pages_for_no_share():
    assert pages_for([([1, 2, 3], [True] * 3)], 0.0, 8) == 0


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_is_refused(share):
    with pytest.raises(UserError, match="share from 0 to below 1"):
        InstructionConfig(replay=share)


def test_the_command_counts_its_pages(tmp_path, capsys):
    """The tiny model of a pretraining command, tuned with a fifth of its tokens from stories, stopped and resumed."""
    from pretraining.train import main as pretrain

    small = ["model.n_layer=1", "model.n_head=2", "model.n_embd=16", "tokenizer=byte", "max_documents=40"]
    words = ["data=storyland", *small, "steps=1", "batch_size=2", f"runs={tmp_path}", "prompts=[]", "--quiet"]
    assert pretrain([*words, "model.block_size=256"]) == 0
    (base,) = list_runs(stage="pretrain", root=tmp_path)
    asked = ["requests=40", "held_out=2", "batch_size=2", "lessons=[recall:1]", "replay=0.2"]
    asked += ["template=plain", "--quiet"]
    assert train.main([f"ckpt={base.path}", f"runs={tmp_path}", "steps=3", *asked]) == 0
    (run,) = list_runs(stage="sft", root=tmp_path)
    pages = run.meta["inputs"]["conversations"]["replay_pages"]
    assert pages > 1
    assert f"{pages:,} pages of the pretraining text among them" in capsys.readouterr().out
    assert train.main(["--resume", str(run.path), "steps=4", f"runs={tmp_path}", "--quiet"]) == 0
    assert list_runs(stage="sft", root=tmp_path)[0].meta["result"]["step"] == 4
