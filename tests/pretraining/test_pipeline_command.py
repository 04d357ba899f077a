"""`python -m pretraining.pipeline` for real, on a small text: every stage's own command, kept the second time."""

import json
from pathlib import Path

import pytest

from pretraining import pipeline
from utils.errors import UserError
from utils.runs import list_runs

TINY = [
    *("vocab_size=300", "text.clean=false", "text.val_fraction=0.2"),
    *("training.preset=tiny", "training.model.n_layer=1", "training.model.n_embd=16", "training.model.n_head=2"),
    *("training.model.block_size=32", "training.steps=2", "training.batch_size=2", "training.prompts=[]"),
    *("sampling.max_new_tokens=5", "evaluation.max_tokens=200"),
]  # fmt: skip


@pytest.fixture
def book(tmp_path: Path) -> Path:
    text = "\n\n".join(
        f"Story {i}. The fox met a crow by the river, and day {i} was warm." for i in range(60)
    )
    path = tmp_path / "book.txt"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_from_a_text_to_a_sample_and_kept_the_second_time(book, tmp_path, capsys):
    words = [f"input={book}", f"runs={tmp_path / 'runs'}", *TINY]
    assert pipeline.main(words) == 0
    (run,) = list_runs(stage="pipeline", root=tmp_path / "runs")
    stages = run.meta["stages"]
    assert run.status == "complete"
    made = ["made", "made", "made", "off", "made", "made"]
    assert [stages[name]["status"] for name in pipeline.ORDER] == made, stages
    judged = json.loads(Path(stages["evaluate"]["path"]).read_text())["figures"]
    assert 0 < judged["total"]["loss"] < 8, judged
    assert "--seed 0" in capsys.readouterr().out, "the same command must write the same sample"
    assert "Once upon a time" in Path(stages["sample"]["path"]).read_text()
    (training,) = list_runs(stage="pretrain", root=tmp_path / "runs")
    assert training.status == "complete" and training.meta["result"]["step"] == 2

    assert pipeline.main(words) == 0
    again = list_runs(stage="pipeline", root=tmp_path / "runs")[0]
    assert {facts["status"] for facts in again.meta["stages"].values()} == {"unchanged", "off"}
    assert "next: scratchbook sample --ckpt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["training.lr=fast"], "lr"),
        (["training.learning_rate=1e-3"], "learning_rate"),
        (["training.data=x"], "fills that in"),
        (["text.vocab_size=3"], "own business"),
        (["text.clene=false"], "clene"),
        (["evaluation.splt=val"], "splt"),
        (["sampling.temprature=1"], "did you mean 'temperature'"),
        (["tokenizer=false"], "need a tokenizer"),
        (["train=false"], "needs a model"),
        (["evaluate=latest"], "true, false or fresh"),
        (["recipe=nowhere.yaml"], "not found"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(words, says, tmp_path):
    with pytest.raises(UserError, match=says):
        pipeline.main([*words, f"runs={tmp_path}"])
    assert not list(tmp_path.iterdir())


def test_a_missing_input_and_nothing_to_take_are_one_line_and_a_failed_run(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        pipeline.main(["input=nowhere.txt", f"runs={tmp_path}"])
    with pytest.raises(UserError, match="no whole one"):
        pipeline.main(["tokenizer=latest", f"runs={tmp_path}"])
    runs = list_runs(stage="pipeline", root=tmp_path)
    assert [run.status for run in runs] == ["failed", "failed"]
    assert all(run.meta["stages"]["tokenizer"]["status"] == "failed" for run in runs)
