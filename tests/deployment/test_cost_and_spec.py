"""Costs by formula, settings from the environment, and bad input refused before it costs anything."""

import dataclasses

import pytest

from deployment import cost
from deployment.cost import Gpu, estimate, hourly, hours_of, parse_gpu, training_hours
from deployment.jobs import Job, Node, command_line
from deployment.resume import Found
from deployment.spec import ServeSpec, TrainSpec, WorkspaceSpec, from_environment
from deployment.submit import plan_jobs, submit
from utils.errors import UserError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("H1000", "did you mean"),
        ("", "choose one of"),
        ("H100:9", "1 to 8"),
        ("H100:0", "1 to 8"),
        ("H100:", "1 to 8"),
        ("A10:5", "1 to 4"),
        ("H100:two", "1 to 8"),
        ("H100:-1", "1 to 8"),
    ],
)
def test_a_gpu_that_cannot_be_rented_is_refused_here(text, words):
    with pytest.raises(UserError, match=words):
        parse_gpu(text)


def test_gpus_are_read_in_any_case_and_every_name_has_a_sheet_or_no_estimate():
    assert (
        parse_gpu("h100:8") == Gpu("H100", 8) and str(Gpu("H100", 8)) == "H100:8" and str(Gpu("L4")) == "L4"
    )
    for name in cost.GPUS:
        peak = Gpu(name).peak
        assert peak is None or 5e13 < peak < 5e15, f"{name} has a peak of {peak}"
    assert cost.PRICES.keys() <= cost.GPUS.keys()


def test_the_formula():
    assert hourly(Gpu("H100", 8)) == pytest.approx(8 * 3.9492)
    assert hourly(Gpu("T4"), nodes=2, cores=4) == pytest.approx(2 * (0.5904 + 4 * 0.04716))
    assert hourly(Gpu("A10")) is None, "a price that nobody wrote down is not guessed"
    assert training_hours(989.5e12 * 3600 * 0.5, Gpu("H100"), mfu=0.5) == pytest.approx(1.0)
    assert training_hours(989.5e12 * 3600, Gpu("H100", 4), nodes=2, mfu=0.5) == pytest.approx(0.25)
    with pytest.raises(UserError, match="share between 0 and 1"):
        training_hours(1.0, Gpu("H100"), mfu=35)
    found = estimate(Gpu("H100"), hours=2, timeout_hours=24, attempts=11)
    assert found.dollars == pytest.approx(7.8984) and found.at_most == pytest.approx(24 * 11 * 3.9492)
    assert cost.PRICES_OF in str(found) and "$7.90" in str(found) and "may have changed" in str(found)
    assert "unknown cost" in str(estimate(Gpu("A10"), hours=2))


def test_hours_come_from_the_budget_of_the_same_config():
    kind = Gpu("H100")
    assert hours_of(["minutes=30"], kind)[0] == pytest.approx(0.5)
    small, why = hours_of(["--preset", "gpt2-small"], kind)
    assert "assumed" in why and small is not None
    assert hours_of(["--preset", "gpt2-small"], Gpu("H100", 8))[0] == pytest.approx(small / 8)
    double = hours_of(
        ["--preset=gpt2-small", f"steps={2 * cost.config_of(['--preset', 'gpt2-small']).steps}"], kind
    )[0]
    assert double == pytest.approx(2 * small)
    assert hours_of(["epochs=3"], kind)[0] is None
    with pytest.raises(UserError, match="lr"):
        hours_of(["lrr=3"], kind)


@pytest.mark.parametrize(
    ("cls", "changes", "words"),
    [
        (TrainSpec, {"gpu": "H101"}, "H100"),
        (TrainSpec, {"timeout_hours": 25.0}, "from 0.25 to 24"),
        (TrainSpec, {"retries": -1}, "from 0 to 100"),
        (TrainSpec, {"mount": "vol"}, "absolute folder"),
        (TrainSpec, {"mount": "/a/../etc"}, "absolute folder"),
        (ServeSpec, {"password_secret": ""}, "has a password"),
        (ServeSpec, {"concurrency": 0}, "from 1 to 1000"),
        (WorkspaceSpec, {"code_port": 8888}, "each service needs its own"),
        (WorkspaceSpec, {"ssh_port": 22}, "from 1024"),
        (WorkspaceSpec, {"hours": 100.0}, "from 0.1 to 24"),
    ],
)
def test_a_spec_refuses_what_the_provider_would_refuse_later(cls, changes, words):
    with pytest.raises(UserError, match=words):
        cls(**changes)


def test_specs_come_from_the_environment_and_typos_are_named():
    made = from_environment(
        TrainSpec, environment={"SCRATCHBOOK_MODAL_SECRETS": "wandb, hf", "SCRATCHBOOK_MODAL_RETRIES": "0"}
    )
    assert made == dataclasses.replace(TrainSpec(), secrets=("wandb", "hf"), retries=0)
    with pytest.raises(UserError, match="SCRATCHBOOK_MODAL_GPUS is set but means nothing"):
        from_environment(TrainSpec, environment={"SCRATCHBOOK_MODAL_GPUS": "H100"})
    with pytest.raises(UserError, match="must be a number"):
        from_environment(TrainSpec, environment={"SCRATCHBOOK_MODAL_RETRIES": "many"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run_id": "../etc"}, "run id"),
        ({"run_id": ""}, "run id"),
        ({"run_id": ".hidden"}, "run id"),
        ({"run_id": "a/b"}, "run id"),
        ({"run_id": "x" * 81}, "run id"),
        ({"command": "pretrian"}, "did you mean 'pretrain'"),
        ({"arguments": ("--resume", "last")}, "decides that itself"),
        ({"arguments": ("runs=/etc",)}, "decides that itself"),
        ({"processes": 0}, "the least is 1"),
        ({"command": "sft", "processes": 2}, "one process"),
    ],
)
def test_a_job_that_cannot_be_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        Job(**{"run_id": "a", **changes})


def test_the_command_is_the_books_own_with_torchrun_where_there_are_several(tmp_path):
    new, going_on = Found("new", tmp_path / "a"), Found("resumable", tmp_path / "a", 200)
    job = Job("a", "pretrain", ("lr=1e-3",))
    assert command_line(job, new)[1:] == ["-m", "pretraining.train", "lr=1e-3"]
    assert command_line(job, going_on)[1:] == ["-m", "pretraining.train", "--resume", str(tmp_path / "a")]
    eight = command_line(dataclasses.replace(job, processes=8), new)[1:]
    assert eight[:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "8"]
    nodes = command_line(dataclasses.replace(job, processes=8, nodes=4), going_on, Node(3, "10.0.0.1", 4000))[
        1:
    ]
    text = " ".join(nodes)
    assert "--nnodes 4 --node-rank 3 --master-addr 10.0.0.1 --master-port 4000 --nproc-per-node 8" in text
    assert text.endswith(f"-m pretraining.train --resume {tmp_path / 'a'}")


class Sent:
    """Where jobs are sent to in these tests."""

    def __init__(self):
        self.jobs = []

    def __call__(self, jobs):
        self.jobs += jobs
        return [f"done {job['run_id']}" for job in jobs]


def sent(**options):
    one, many, said = Sent(), Sent(), []
    results = submit(TrainSpec(), one, many, say=said.append, **options)
    return one.jobs, many.jobs, said, results


def test_the_cost_is_said_before_anything_is_sent():
    one, many, said, results = sent(run_id="n", arguments="data=storyland minutes=60")
    assert [job["run_id"] for job in one] == ["n"] and not many and results == ["done n"]
    assert said[1].startswith("estimate: H100 for 1 h: $4.14"), said
    one, many, said, results = sent(run_id="n", arguments="minutes=60", gpu="H100:8", dry_run=True)
    assert not one and not many and "nothing was sent" in said[-1] and "H100:8" in said[1]


def test_too_dear_is_not_sent():
    with pytest.raises(UserError, match=r"above max-dollars=2"):
        sent(run_id="n", arguments="minutes=60", max_dollars=2.0)
    with pytest.raises(UserError, match="cost is not known"):
        sent(run_id="n", arguments="epochs=1", max_dollars=2.0)


def test_a_sweep_is_one_job_a_combination_with_names_that_stay():
    first = plan_jobs("s", "pretrain", ["data=storyland", "steps=10"], sweep=["lr=1e-3,3e-3", "seed=0,1"])
    again = plan_jobs("s", "pretrain", ["data=storyland", "steps=10"], sweep=["lr=1e-3,3e-3", "seed=0,1"])
    assert first == again and len({job.run_id for job in first}) == 4
    assert {job.arguments[2:] for job in first} == {
        (f"lr={a}", f"seed={b}") for a in ("1e-3", "3e-3") for b in "01"
    }
    one, _, said, _ = sent(run_id="s", arguments="minutes=60", sweep="seed=0,1,2")
    assert len(one) == 3 and "3 jobs" in said[3] and "$12.41" in said[3], said


def test_several_machines_are_those_that_were_asked_for():
    _, many, _, _ = sent(run_id="n", arguments="minutes=60", gpu="H100:8", nodes=2)
    assert many[0]["nodes"] == 2 and many[0]["processes"] == 8
    with pytest.raises(UserError, match="SCRATCHBOOK_MODAL_NODES=4"):
        sent(run_id="n", arguments="minutes=60", gpu="H100:8", nodes=4)
    with pytest.raises(UserError, match="a sweep"):
        sent(run_id="n", gpu="H100:8", nodes=2, sweep="seed=0,1")
