"""The command for real, on a model of nothing: it learns, stops, goes on to the same bit, and refuses bad input."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetuning.preference import dpo, train
from finetuning.preference.settings import PreferenceConfig
from pretraining.callbacks import Callback
from utils.config import load_config
from utils.errors import UserError
from utils.runs import list_runs

SMALL = [
    *("source=generator", "pairs=24", "held_out=6", "asked=4", "drawn=2", "batch_size=4", "lr=1e-3"),
    *("log_every=1", "eval_every=2", "dtype=fp32", "device=cpu"),
]


@pytest.fixture
def base(chat_tokenizer, tiny_gpt, tmp_path):
    """A checkpoint folder of a small model with its tokenizer."""
    folder = tmp_path / "base"
    tiny_gpt.save_pretrained(folder)
    chat_tokenizer.save(folder / "tokenizer.json")
    return folder


def weights(run):
    """The tensors of the run's last checkpoint."""
    checkpoints = Path(run.path) / "checkpoints"
    return load_file(checkpoints / (checkpoints / "last").read_text().strip() / "model.safetensors")


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, record):
        if trainer.now.step == self.step:
            trainer.stop.request("a test")


def config_of(*words):
    return load_config(PreferenceConfig, None, list(words))


@pytest.mark.parametrize("reference", ["cached", "online"])
def test_the_command_learns_and_says_what_changed(base, tmp_path, capsys, reference):
    words = [f"ckpt={base}", f"runs={tmp_path}", "steps=6", f"reference={reference}"]
    assert dpo.main([*words, "--quiet", *SMALL]) == 0
    told = capsys.readouterr().out
    assert "preference accuracy, held out" in told and "against its reference" in told
    (run,) = list_runs(stage="dpo", root=tmp_path)
    result = run.meta["result"]
    assert run.status == "complete" and result["step"] == 6
    assert result["preferences"]["accuracy"]["total"] == 6 and result["exact_after"]["total"] == 4
    assert result["drift"]["kl"] >= 0 and result["drift"]["answers"] == 2
    assert run.meta["inputs"]["model"]["path"] == str(base / "model.safetensors")
    rows = run.metrics()
    first = next(r for r in rows if r["split"] == "train")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    pairs = [r for r in rows if r["split"] == "pairs"]
    judged = [r for r in rows if r["split"] == "judged"]
    assert pairs[0]["margin"] == pytest.approx(0, abs=1e-4) and pairs[-1]["margin"] > 0
    assert [r["step"] for r in judged] == [2, 4, 6]
    for row in judged:
        assert {"kl", "length", "margin", "accuracy", "chosen_reward", "by_reason"} <= row.keys()
    assert {name: judged[-1][name] for name in result["drift"]} == result["drift"], "the end is the last look"
    from gpt_model.loading import load_model

    assert load_model(run.path).tokenizer is not None, "chat and sample load the run like any other"


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bit(base, tmp_path, tune):
    words = [f"ckpt={base}", "steps=6", f"tune={tune}", *SMALL]
    whole = train.prefer(config_of(*words, f"runs={tmp_path / 'a'}"))
    half = train.prefer(config_of(*words, f"runs={tmp_path / 'b'}"), callbacks=[StopAt(3)])
    assert half.status == "stopped" and "preferences" not in half.meta["result"]
    assert dpo.main(["--resume", str(half.path), "--quiet"]) == 0
    (again,) = list_runs(stage="dpo", root=tmp_path / "b")
    one, two = weights(whole), weights(again)
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different, f"these differ from the run without the pause: {different[:3]}"
    assert again.meta["result"]["preferences"] == whole.meta["result"]["preferences"]
    start = load_file(base / "model.safetensors")
    assert any(not torch.equal(start[name], one[name]) for name in one), "nothing was learned at all"


def test_looking_on_changes_nothing_that_is_learned(base, tmp_path):
    """Each look draws answers and loads the reference, and a model that is loaded draws its first weights."""
    looks = {"often": ["eval_every=1", "drawn=2"], "never": ["eval_every=0", "drawn=0"]}
    often, never = (
        weights(train.prefer(config_of(f"ckpt={base}", "steps=3", f"runs={tmp_path / name}", *SMALL, *words)))
        for name, words in looks.items()
    )
    different = [name for name in often if not torch.equal(often[name], never[name])]
    assert not different, f"measuring changed what was learned: {different[:3]}"


def test_a_run_does_not_go_on_with_another_reference(base, tmp_path, tiny_gpt):
    half = train.prefer(
        config_of(f"ckpt={base}", "steps=4", f"runs={tmp_path}", *SMALL), callbacks=[StopAt(2)]
    )
    with torch.no_grad():
        tiny_gpt.token_embedding.weight.add_(0.5)
    tiny_gpt.save_pretrained(base)
    with pytest.raises(UserError, match="compared with it in every step"):
        train.prefer(config_of("steps=4", f"runs={tmp_path}", *SMALL), resume=half.path)
    (half.path / "pairs.jsonl").unlink()


def test_pairs_of_ones_own_come_from_a_file(base, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {n}.", "chosen": f"{n}", "rejected": "no"} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    run = train.prefer(
        config_of(f"ckpt={base}", f"data={file}", "steps=2", f"runs={tmp_path}", "asked=0", "drawn=0")
    )
    assert run.meta["train"]["pairs"] + run.meta["judged"]["pairs"] == 40
    kept = [json.loads(line) for line in (run.path / "pairs.jsonl").read_text().splitlines()]
    assert {row["split"] for row in kept} == {"train", "judged"}
    requests = {row["prompt"][0]["content"] for row in kept if row["split"] == "train"}
    assert not requests & {row["prompt"][0]["content"] for row in kept if row["split"] == "judged"}


def test_a_bad_record_is_named_by_its_line(base, tmp_path):
    file = tmp_path / "pairs.jsonl"
    good = json.dumps({"prompt": "Say it.", "chosen": "yes", "rejected": "no"})
    for bad in (
        '{"prompt": "Say it.", "chosen": "yes"}',
        '{"prompt": "x", "chosen": "", "rejected": "no"}',
        "{",
    ):
        file.write_text(f"{good}\n{bad}\n")
        with pytest.raises(UserError, match="line 2"):
            train.prefer(config_of(f"ckpt={base}", f"data={file}", "steps=1", f"runs={tmp_path}"))
    assert not list_runs(stage="dpo", root=tmp_path), "a run folder was made for bad input"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ckpt=nowhere"], "nowhere"),
        (["beta=0"], "beta"),
        (["label_smoothing=0.5"], "label_smoothing"),
        (["objective=ipo", "label_smoothing=0.1"], "objective=dpo"),
        (["objective=ppo"], "objective"),
        (["source=nobody"], "source"),
        (["reference=none"], "reference"),
        (["pairs=0"], "pairs"),
        (["temperature=0"], "temperature"),
        (["template=nothing"], "template"),
        (["tune=some"], "tune"),
        (["data=/nowhere/pairs.jsonl"], "pairs.jsonl"),
    ],
    ids=lambda value: value[-1].partition("=")[0] if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_one_line_before_there_is_a_run(base, tmp_path, words, said):
    given = [f"ckpt={base}", *SMALL, "steps=1", f"runs={tmp_path}", "--quiet", *words]
    with pytest.raises(UserError) as caught:
        dpo.main(given)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not list_runs(stage="dpo", root=tmp_path)


def test_help_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys\nfrom finetuning.preference import dpo\ntry:\n    dpo.main(['--help'])\nexcept SystemExit:\n"
        "    pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_model_is_asked_in_the_template_of_its_run(base, tmp_path, monkeypatch):
    """Before and after: asked in other words than it was tuned in, it looks as if it knew nothing."""
    run = tmp_path / "runs" / "sft" / "one"
    folder = run / "checkpoints" / "step_000001"
    shutil.copytree(base, folder)
    (run / "run.json").write_text(json.dumps({"config": {"template": "chatml"}}))
    seen = []
    real = train.exact_match
    monkeypatch.setattr(
        train, "exact_match", lambda *a, template: seen.append(template) or real(*a, template=template)
    )
    own = train.prefer(config_of(f"ckpt={folder}", "steps=1", f"runs={tmp_path}", *SMALL))
    assert seen == ["chatml", "chatml"] and own.meta["config"]["template"] == "chatml"
    given = train.prefer(
        config_of(f"ckpt={folder}", "steps=1", f"runs={tmp_path}", *SMALL, "template=alpaca")
    )
    assert seen[2:] == ["alpaca", "alpaca"] and given.meta["config"]["template"] == "alpaca"


def test_a_file_of_ones_own_is_not_judged_by_storyland(base, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {n}.", "chosen": f"{n}", "rejected": "no"} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    run = train.prefer(config_of(f"ckpt={base}", "steps=1", f"runs={tmp_path}", *SMALL, f"data={file}"))
    assert "exact_after" not in run.meta["result"]
