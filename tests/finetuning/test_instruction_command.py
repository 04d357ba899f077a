"""The finetuning stage of the pipeline for real: the book's own model learns requests for two steps, and writes."""

from pathlib import Path

import pytest

from finetuning.instruction import train
from pretraining import pipeline
from utils.errors import UserError
from utils.runs import list_runs


@pytest.mark.slow
def test_the_pipeline_finetunes_a_given_model_and_samples_from_it(tmp_path):
    words = ["tokenizer=false", "shards=false", "train=assets", "finetune=true", "evaluate=false"]
    small = [
        "finetuning.steps=2",
        "finetuning.requests=40",
        "finetuning.held_out=4",
        "sampling.max_new_tokens=4",
    ]
    assert pipeline.main([*words, *small, f"runs={tmp_path}"]) == 0
    (run,) = list_runs(stage="pipeline", root=tmp_path)
    stages = run.meta["stages"]
    assert [stages[name]["status"] for name in pipeline.ORDER] == [
        "off",
        "off",
        "given",
        "made",
        "off",
        "made",
    ]
    (tuned,) = list_runs(stage="sft", root=Path(stages["finetune"]["folder"]) / "runs")
    assert tuned.status == "complete" and tuned.meta["result"]["exact_after"]["total"] == 4
    assert stages["finetune"]["path"].startswith(str(tuned.path))


def test_what_cannot_be_tuned_is_one_line(tmp_path):
    with pytest.raises(UserError, match="give some to learn from"):
        train.main(["ckpt=assets", "requests=0", f"runs={tmp_path}"])
    with pytest.raises(UserError, match="nowhere"):
        train.main(["ckpt=nowhere", f"runs={tmp_path}"])
