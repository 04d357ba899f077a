"""The commands as people use them: train, Ctrl-C, resume, plot; and the face of a run."""

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys

import pytest
from training_checks import BASE, replace, tiny_trainer

from pretraining import plot_curves, progress, train
from pretraining.checkpoints import load_checkpoint
from utils.cli import run_main
from utils.runs import Run, find_run

SMALL = [
    "tokenizer=byte",
    "preset=debug",
    "model.block_size=32",
    "batch_size=4",
    "device=cpu",
    "eval_tokens=200",
]
SMALL += ["sample_tokens=5", "log_every=1"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(
        "".join(f"On day {i} the fox met hen number {i * 7 % 13}. They talked.\n\n" for i in range(300))
    )
    return path


def test_a_run_from_a_text_file_to_its_result(text, tmp_path, capsys):
    arguments = [
        *SMALL,
        f"data={text}",
        "--runs",
        str(tmp_path),
        "--steps",
        "6",
        "--n_layer",
        "1",
        "--lr",
        "2e-3",
    ]
    assert run_main(train.main, [*arguments, "--eval_interval", "3", "save_every=3"]) == 0
    out = capsys.readouterr().out
    run = find_run("last", root=tmp_path)
    assert run.status == "complete" and run.stage == "pretrain"
    config = run.meta["config"]
    assert (config["steps"], config["lr"], config["eval_every"]) == (6, 2e-3, 3) and config["model"][
        "n_layer"
    ] == 1
    result = run.meta["result"]
    assert (
        result["val"]["bits_per_byte"] > 0 and result["baselines"]["bigram"] < result["baselines"]["unigram"]
    )
    assert f"run: {run.path}" in out and "next: " in out and "validation loss" in out
    assert run.meta["inputs"]["data"]["sha256"] and run.meta["inputs"]["tokenizer_sha256"]
    assert {p.name for p in (run.path / "checkpoints").iterdir()} >= {
        "last",
        "best",
        "step_000003",
        "step_000006",
    }
    assert (run.path / "checkpoints" / "step_000006" / "tokenizer.json").is_file()
    with (run.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "epoch", "split", "loss", "timestamp"]
    assert run_main(plot_curves.main, [str(run.path)]) == 0
    for name in ("train_loss.png", "val_loss.png", "val_ppl.png"):
        assert (run.path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_saves_says_how_to_resume_and_exits_with_130(text, tmp_path):
    command = [
        sys.executable,
        "-m",
        "pretraining.train",
        *SMALL,
        f"data={text}",
        f"runs={tmp_path}",
        "seed=5",
    ]
    with subprocess.Popen(
        [*command, "steps=100000", "eval_every=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        line = child.stdout.readline()
        assert re.search(r"step \d+ .*tokens/s .*left", line), f"not a line of progress: {line!r}"
        child.send_signal(signal.SIGINT)
        error = child.stderr.read()
        assert child.wait(60) == 130, error
    run = find_run("last", root=tmp_path)
    assert run.status == "stopped" and run.meta["error"] == "SIGINT"
    step = load_checkpoint(run).step
    assert f"stopped by SIGINT at step {step}" in error and f"--resume {run.path}" in error

    again = [f"runs={tmp_path}", "--resume", "last", f"steps={step + 2}", "--quiet"]
    assert run_main(train.main, again) == 0
    run = find_run("last", root=tmp_path)
    assert (
        run.status == "complete"
        and run.meta["result"]["step"] == step + 2
        and run.meta["config"]["seed"] == 5
    )


def test_resume_refuses_a_text_that_has_changed_and_a_run_that_is_not_there(text, tmp_path, capsys):
    assert run_main(train.main, [*SMALL, f"data={text}", f"runs={tmp_path}", "steps=2", "--quiet"]) == 0
    changed = text.with_name("changed.txt")
    changed.write_text(text.read_text().replace("fox", "cat"))
    again = [f"runs={tmp_path}", "steps=4", "--quiet", "--resume"]
    assert run_main(train.main, [*again, "last", f"data={changed}"]) == 2
    assert "began with other data" in capsys.readouterr().err
    assert find_run("last", root=tmp_path).status == "complete", "a refused resume changed the run"
    assert run_main(train.main, [*again, "nothing"]) == 2
    assert "no run 'nothing'" in capsys.readouterr().err
    assert run_main(train.main, [*again, "last", "--config", "x.yaml"]) == 2


def test_resume_names_the_checkpoint_it_fell_back_to(text, tmp_path, capsys):
    arguments = [*SMALL, f"data={text}", f"runs={tmp_path}", "steps=4", "save_every=2"]
    assert run_main(train.main, [*arguments, "--quiet"]) == 0
    run = find_run("last", root=tmp_path)
    weights = run.path / "checkpoints" / "step_000004" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])  # cut short
    capsys.readouterr()
    assert run_main(train.main, [f"runs={tmp_path}", "--resume", run.id]) == 0
    assert "going on from step 2 (step_000004 is damaged" in capsys.readouterr().out.replace("\n", " ")
    assert load_checkpoint(find_run("last", root=tmp_path)).step == 4


def test_text_too_short_for_a_block_is_one_line_and_no_run(tmp_path, capsys):
    (tmp_path / "short.txt").write_text("too short\n\nfor this\n")
    folder = tmp_path / "runs"
    assert run_main(train.main, [*SMALL, f"data={tmp_path / 'short.txt'}", f"runs={folder}"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    assert not folder.exists()


def test_help_lists_every_key():
    out = subprocess.run(
        [sys.executable, "-m", "pretraining.train", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(key in out for key in ("--resume", "steps=null", "warmup=0.02", "data=storyland", "--n_layer"))


def test_plotting_reads_csv_and_jsonl_and_names_what_is_missing(tmp_path, capsys):
    (tmp_path / "a.csv").write_text(
        "step,epoch,split,loss,timestamp\n1,0,train,3.0,t\n2,0,train,2.5,t\n2,0,train,2.0,t\n"
    )
    (tmp_path / "b.jsonl").write_text(json.dumps({"step": 1, "split": "val", "loss": 2.0}) + "\n")
    assert plot_curves.read_curves(tmp_path / "a.csv") == {"train": {1: 3.0, 2: 2.0}}, "the later line counts"
    assert plot_curves.read_curves(tmp_path / "b.jsonl") == {"val": {1: 2.0}}
    assert run_main(plot_curves.main, [str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")]) == 0
    assert {p.name for p in tmp_path.glob("*.png")} == {"train_loss.png", "val_loss.png", "val_ppl.png"}
    (tmp_path / "c.csv").write_text("step,value\n1,2\n")
    assert run_main(plot_curves.main, [str(tmp_path / "c.csv")]) == 2
    (tmp_path / "d.jsonl").write_text("")
    assert run_main(plot_curves.main, [str(tmp_path / "d.jsonl")]) == 2
    errors = capsys.readouterr().err
    assert "no column loss" in errors and "holds no loss" in errors


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    bar = progress.ProgressBar(stream, line_seconds=0.0)
    tiny_trainer(replace(BASE, steps=3, eval_every=2), callbacks=(bar,)).fit()
    lines = stream.getvalue()
    assert "\x1b" not in lines and "100%  step 3  loss" in lines and "validation loss" in lines


def test_a_live_bar_in_a_terminal_is_taken_away_at_the_end():
    stream = io.StringIO()
    bar = progress.ProgressBar(stream)
    bar.console = type(bar.console)(file=stream, force_terminal=True, width=100)
    tiny_trainer(replace(BASE, steps=3), callbacks=(bar,)).fit()
    assert "tokens/s" in stream.getvalue() and bar._bar is None
    assert progress.duration(math.inf) == "?" and progress.duration(3725) == "1:02:05"


def test_a_failed_run_says_failed(text, tmp_path, monkeypatch):
    from pretraining import trainer as trainer_module

    monkeypatch.setattr(trainer_module, "MAX_BAD_STEPS", 1)
    monkeypatch.setattr(trainer_module, "clip_gradients", lambda parameters, limit: math.inf)
    assert run_main(train.main, [*SMALL, f"data={text}", f"runs={tmp_path}", "steps=3", "--quiet"]) == 1
    assert Run.open(next(tmp_path.glob("*/*"))).status == "failed"


def test_train_is_a_function_and_a_module():
    code = (
        "import pretraining, importlib\n"
        "from pretraining import train\n"
        "assert callable(train), train\n"
        "module = importlib.import_module('pretraining.train')\n"
        "from pretraining import train\n"
        "assert callable(train) and train is module and callable(module.main)\n"
        "import sys; assert 'torch' not in sys.modules, 'importing the command costs a torch import'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
