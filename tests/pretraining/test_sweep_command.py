"""`python -m pretraining.sweep`: the command line, what is refused, the report; and two real trials."""

import json

import pytest

from pretraining import sweep
from pretraining.sweep_plan import make_plan, read_axis, read_words
from pretraining.sweep_report import Outcome, describe, make_figures, sweep_figure
from utils.errors import UserError
from utils.schema import flat_keys

TINY = [
    *("preset=tiny", "model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.block_size=32"),
    *("vocab_size=300", "max_documents=60", "batch_size=2", "prompts=[]", "log_every=0"),
]


def test_the_sweeps_own_keys_are_not_keys_of_training():
    from pretraining.pretrain_config import PretrainConfig

    both = sweep.own_keys() & set(flat_keys(PretrainConfig))
    assert not both, f"{both} mean two things on one command line"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["steps=10"], "nothing to sweep over"),
        (["lr=1e-3,fast"], "trial lr=fast"),
        (["lrr=1e-3,2e-3"], "did you mean 'lr'"),
        (["lr=1e-3,1e-3"], "twice"),
        (["lr=1e-3,,2e-3"], "empty value"),
        (["lr=log(1e-4,1e-2)"], "method=random"),
        (["lr=log(1e-2,1e-4)", "method=random", "trials=2"], "lower end first"),
        (["lr=log(a,b)", "method=random", "trials=2"], "must be numbers"),
        (["method=random", "lr=1e-3,2e-3"], "needs trials"),
        (["method=random", "lr=1e-3,2e-3", "trials=5"], "2 combinations"),
        (["method=magic", "lr=1e-3,2e-3"], "grid, random, halving"),
        (["method=halving", "lr=1e-3,2e-3"], "steps=N"),
        (["method=halving", "seed=1,2", "steps=8"], "lucky"),
        (["method=halving", "lr=1,2,3,4", "steps=8", "rungs=9"], "between 2 and 3"),
        (["rank_by=speed", "lr=1e-3,2e-3"], "rank_by"),
        (["processes=0", "lr=1e-3,2e-3"], "least is 1"),
        (["runs=a,b", "lr=1e-3,2e-3"], "not an axis"),
        (["lr=" + ",".join(str(i) for i in range(1, 1102))], "above 1,000"),
    ],
)
def test_what_makes_no_sweep_is_refused_before_anything_is_made(words, says, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCHBOOK_RUNS", str(tmp_path))
    with pytest.raises(UserError, match=says) as caught:
        sweep.main(words)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_values_and_ranges():
    assert read_axis("lr", "1,2") == ("1", "2")
    axes, fixed = read_words(["lr=1,2", "lr=3", "prompts=['a','b']", "model.n_layer=1,2"])
    assert fixed == {"lr": "3", "prompts": "['a','b']"} and list(axes) == ["model.n_layer"]
    axes, _ = read_words(["lr=log(1e-4,1e-2)", "model.n_layer=int(2,4)", "optimizer=adamw,muon"])
    plan = make_plan(axes, {}, method="random", trials=40)
    assert plan == make_plan(axes, {}, method="random", trials=40), "the draw is fixed by its seed"
    lrs = [float(trial.settings["lr"]) for trial in plan.trials]
    assert all(1e-4 <= lr <= 1e-2 for lr in lrs) and sum(lr < 1e-3 for lr in lrs) in range(10, 31)
    assert {trial.settings["model.n_layer"] for trial in plan.trials} == {"2", "3", "4"}


def test_jobs_are_command_lines_for_anyone(tmp_path):
    axes, fixed = read_words(["lr=1,2", "steps=8"])
    plan = make_plan(axes, fixed, method="halving", steps=8, recipe="r.yaml")
    first, second = plan.jobs(tmp_path)
    assert first[:2] == ["-m", "pretraining.train_job"] and first != second
    assert first[first.index("--stop-at") + 1] == "4" and first[first.index("--config") + 1] == "r.yaml"
    assert "--stop-at" not in plan.jobs(tmp_path, 1)[0]


def test_seeds_are_one_row_with_their_spread_and_failures_stay_in_the_table():
    axes, fixed = read_words(["lr=1,2,3", "seed=0,1"])
    plan = make_plan(axes, fixed)
    losses = dict(zip((t.id for t in plan.trials), [2.0, 2.2, 1.5, 1.7, None, 9.0], strict=True))
    outcomes = {
        key: Outcome(
            key, "complete" if loss else "failed", None if loss else "killed", 8, loss, parameters=10
        )
        for key, loss in losses.items()
    }
    figures = make_figures(plan, outcomes, metric="loss", method="grid", fixed=fixed)
    first, second, third = figures["table"]
    assert (first["settings"], first["n"], round(first["mean"], 6)) == ({"lr": "2"}, 2, 1.6)
    assert second["sd"] == pytest.approx(0.1414, abs=1e-3)
    assert (third["status"], third["n"], third["reason"]) == ("failed", 1, "killed")
    text = describe(figures)
    assert "1.6000 ± 0.1414" in text and "failed: killed" in text
    assert sweep_figure(figures).axes[0].get_xlabel() == "lr"


@pytest.mark.slow
def test_two_real_trials_then_nothing_to_do(tmp_path, capsys):
    words = ["lr=1e-3,3e-3", "steps=3", "eval_every=2", f"runs={tmp_path}", *TINY]
    assert sweep.main(words) == 0
    (folder,) = (tmp_path / "sweep").iterdir()
    figures = json.loads((folder / "sweep.json").read_text())["figures"]
    assert figures["counts"] == {"complete": 2} and figures["table"][0]["parameters"] > 0
    assert figures["trials"][0]["curve"][0][0] == 2 and (folder / "sweep.svg").read_text().startswith("<svg")
    logs = {path: path.read_text() for path in (folder / "trials").glob("*.log")}
    assert sweep.main(words) == 0
    assert logs == {path: path.read_text() for path in logs}, "a complete trial was begun again"
    assert "scratchbook sample --ckpt" in capsys.readouterr().out
