"""What replay must keep: whose pages, how many, and that none is given twice; raises AssertionError with a sentence.

The reference joins the training documents of a pretraining run by hand, as text.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from finetuning.instruction import replay, train
from finetuning.instruction.train_config import InstructionConfig
from pretraining.pretrain_config import PretrainConfig
from pretraining.recipe import load_split
from utils.config import to_dict
from utils.runs import Run
from working_with_text_data.byte_tokenizer import ByteTokenizer

PAGE = 16
SHARE = 0.2
END = "<|endoftext|>"


def pretrained(folder: Path, texts: int = 200) -> tuple[Any, str, list[str]]:
    """A stand-in for the loaded model of a pretraining run, that run's training text, and its validation texts."""
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": f"<{n}> is {n * n}."}) + "\n" for n in range(texts)))
    config = PretrainConfig(data=str(file), val_fraction=0.3, data_seed=5)
    with Run.create("pretrain", to_dict(config), root=folder / "runs") as run:
        run.finish("complete")
    tokenizer = ByteTokenizer((END,))
    shape = SimpleNamespace(config=SimpleNamespace(block_size=PAGE))
    loaded = SimpleNamespace(path=run.path, tokenizer=tokenizer, model=shape)
    split = load_split(config)
    return loaded, "".join(d.text + END for d in split.train), [d.text for d in split.val]


def conversations(tokenizer: ByteTokenizer, count: int) -> list[Any]:
    ids = tokenizer.encode_ordinary("?yes")
    return [(ids, [False, True, True, True])] * count


def check_pages_are_the_training_part(folder: Path) -> None:
    """Pages in order are the training documents, each closed by its end; nothing of the validation part is in them."""
    loaded, text, held_out = pretrained(folder)
    pages = replay.replay_pages(loaded.path, loaded.tokenizer, 60, PAGE)
    said = loaded.tokenizer.decode([i for ids, _ in pages for i in ids])
    assert not any(each in said for each in held_out), "a validation document is practised"
    assert text.startswith(said), (
        "the pages are the training documents in a row, each closed by the end token"
    )
    assert {len(ids) for ids, _ in pages} == {PAGE} and len(pages) == 60, "as many pages as asked, all full"
    assert all(all(trained) for _, trained in pages), "every token of a page is trained"


def check_pages_are_the_share_of_everything(folder: Path) -> None:
    """Of all tokens, `replay` are pages, none of them given twice; the conversations stay what they were."""
    loaded, _, _ = pretrained(folder)
    config = InstructionConfig(replay=SHARE, ckpt=str(loaded.path))
    own = conversations(loaded.tokenizer, 400)
    whole, count = train.add_replay(config, loaded, own)
    assert whole[: len(own)] == own, "the conversations stay"
    pages = [tuple(ids) for ids, _ in whole[len(own) :]]
    of_pages, tokens = sum(map(len, pages)), sum(len(ids) for ids, _ in whole)
    assert 0 <= of_pages - SHARE * tokens < PAGE, (
        f"{of_pages} of {tokens} tokens are pages, {SHARE} was asked"
    )
    assert len(pages) == count, "the count is that of all pages"
    assert len(set(pages)) == len(pages), "a page is given twice although the text has more"
