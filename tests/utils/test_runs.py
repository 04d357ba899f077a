"""A run directory tells the truth about the work, also when the work ended badly."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from utils import Run, UserError, find_run
from utils import runs as runs_module
from utils.files import sha256_bytes
from utils.runs import list_runs, new_run_id, runs_root


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def saved(run):
    return json.loads((run.path / "run.json").read_text())


def dead_run(root, how="os._exit(0)"):
    """A run whose process is gone without a word."""
    code = "import os, sys\nfrom utils import Run\n"
    code += f"print(Run.create('demo', {{}}, root=sys.argv[1]).id, flush=True)\n{how}\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout, done.stderr
    return Run.open(root / "demo" / done.stdout.strip())


def test_run_json_has_everything_that_the_design_names(root, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(b"abc")
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"1234")
    run = Run.create(
        "demo",
        {"lr": 3e-4, "path": Path("x"), "betas": (0.9, 0.95)},
        root=root,
        inputs={"corpus": corpus, "shards": folder, "source": "storyland", "seed": 3},
    )
    meta = saved(run)
    assert meta == run.meta
    assert meta["stage"] == "demo" and meta["status"] == "running" and meta["id"] == run.id
    assert meta["config"] == {"lr": 3e-4, "path": "x", "betas": [0.9, 0.95]}
    assert meta["inputs"]["corpus"] == {"path": str(corpus), "sha256": sha256_bytes(b"abc"), "bytes": 3}
    assert meta["inputs"]["shards"]["bytes"] == 4 and len(meta["inputs"]["shards"]["sha256"]) == 64
    assert meta["inputs"]["source"] == "storyland" and meta["inputs"]["seed"] == 3
    assert meta["outputs"] == {} and meta["end"] is None and meta["error"] is None
    assert re.fullmatch(r"[0-9a-f]{40}", meta["git_sha"] or "0" * 40)
    assert meta["versions"]["python"].startswith("3.") and "torch" in meta["versions"]
    assert meta["hardware"]["cores"] >= 1 and meta["hardware"]["cpu"]
    assert meta["pid"] == os.getpid()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", meta["start"])
    assert run.path == root.resolve() / "demo" / run.id


def test_ids_sort_by_time_and_differ():
    ids = [new_run_id() for _ in range(200)]
    assert all(re.fullmatch(r"\d{8}-\d{6}-[a-z2-9]{4}", i) for i in ids)
    assert len(set(ids)) > 190
    stamps = [i[:15] for i in ids]
    assert stamps == sorted(stamps)


def test_the_root_is_the_argument_then_the_environment_then_here(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRATCHBOOK_RUNS", raising=False)
    assert runs_root() == Path("runs")
    monkeypatch.setenv("SCRATCHBOOK_RUNS", str(tmp_path / "env"))
    assert runs_root() == tmp_path / "env"
    assert runs_root(tmp_path) == tmp_path
    assert Run.create("demo", {}).path.is_relative_to(tmp_path / "env")


def test_metrics_and_samples_are_read_back_while_the_run_goes_on(root):
    run = Run.create("demo", {}, root=root)
    run.metric(step=1, loss=2.5)
    run.metric(step=2, loss=float("nan"), timestamp="then")
    run.sample(step=1, text="Once\nupon")
    reader = Run.open(run.path)
    assert [m["step"] for m in reader.metrics()] == [1, 2]
    assert reader.metrics()[0]["timestamp"].endswith("Z")
    assert reader.metrics()[1] == {"step": 2, "loss": None, "timestamp": "then"}
    assert reader.samples()[0]["text"] == "Once\nupon"
    run.log("first\n")
    run.log("second")
    assert [line.split(" ", 1)[1] for line in (run.path / "log.txt").read_text().splitlines()] == [
        "first",
        "second",
    ]


def test_a_torn_last_metric_is_tolerated_and_the_resumed_run_goes_on(root):
    run = Run.create("demo", {}, root=root)
    run.metric(step=1)
    run.close()
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2, "lo')
    again = Run.open(run.path)
    assert [m["step"] for m in again.metrics()] == [1]
    again.metric(step=2)
    assert [m["step"] for m in again.metrics()] == [1, 2]


def test_the_block_says_how_the_work_ended(root):
    with Run.create("demo", {}, root=root) as good:
        assert good.status == "running"
    assert saved(good)["status"] == "complete" and saved(good)["end"] >= saved(good)["start"]

    with pytest.raises(ZeroDivisionError):
        with Run.create("demo", {}, root=root) as bad:
            _ = 1 / 0
    assert saved(bad)["status"] == "failed" and saved(bad)["error"] == "ZeroDivisionError: division by zero"

    with pytest.raises(KeyboardInterrupt):
        with Run.create("demo", {}, root=root) as stopped:
            raise KeyboardInterrupt
    assert saved(stopped)["status"] == "stopped" and saved(stopped)["error"] == "KeyboardInterrupt"

    with Run.create("demo", {}, root=root) as own:
        own.finish("stopped", "asked to")
    assert saved(own)["status"] == "stopped" and saved(own)["error"] == "asked to"


def test_an_unknown_status_is_refused(root):
    with pytest.raises(UserError, match="complete, failed, stopped"):
        Run.create("demo", {}, root=root).finish("done")


def test_a_full_disk_at_the_end_does_not_hide_the_first_error(root, monkeypatch):
    def full(path, obj):
        raise OSError(errno.ENOSPC, "no space left", str(path))

    with pytest.raises(ZeroDivisionError) as caught:
        with Run.create("demo", {}, root=root):
            monkeypatch.setattr(runs_module, "atomic_write_json", full)
            _ = 1 / 0
    assert "no space left" in caught.value.__notes__[0]


def test_a_full_disk_at_the_start_leaves_nothing_that_counts_as_a_run(root, monkeypatch):
    def full(path, obj):
        raise OSError(errno.ENOSPC, "no space left", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(runs_module, "atomic_write_json", full)
        with pytest.raises(OSError, match="no space left"):
            Run.create("demo", {}, root=root)
    assert list_runs(root=root) == []


def test_outputs_are_recorded_with_their_sum(root, tmp_path):
    run = Run.create("demo", {}, root=root)
    (run.path / "report.html").write_bytes(b"<p>")
    outside = tmp_path / "tokenizer.json"
    outside.write_bytes(b"{}")
    run.add_output("report", run.path / "report.html")
    run.add_output("tokenizer", outside)
    assert saved(run)["outputs"] == {
        "report": {"path": "report.html", "sha256": sha256_bytes(b"<p>"), "bytes": 3},
        "tokenizer": {"path": str(outside), "sha256": sha256_bytes(b"{}"), "bytes": 2},
    }
    with pytest.raises(UserError, match=r"model is .* no such file"):
        run.add_output("model", run.path / "model.safetensors")


def test_a_missing_input_is_refused_before_anything_is_made(root, tmp_path):
    with pytest.raises(UserError, match=r"corpus is .*none\.txt but there is no such file"):
        Run.create("demo", {}, root=root, inputs={"corpus": tmp_path / "none.txt"})
    assert not root.exists()


@pytest.mark.parametrize("bad", ["", "..", "a/b", ".hidden", "a\\b", "x\n"])
def test_names_that_are_no_folder_names_are_refused(root, bad):
    with pytest.raises(UserError, match="plain folder name"):
        Run.create(bad, {}, root=root)
    with pytest.raises(UserError, match="plain folder name"):
        Run.create("demo", {}, root=root, run_id=bad)


def test_an_id_is_used_once(root, monkeypatch):
    Run.create("demo", {}, root=root, run_id="mine")
    with pytest.raises(UserError, match="'mine' exists already"):
        Run.create("demo", {}, root=root, run_id="mine")
    ids = iter(["same", "same", "other"])
    monkeypatch.setattr(runs_module, "new_run_id", lambda: next(ids))
    assert Run.create("demo", {}, root=root).id == "same"
    second = Run.create("demo", {}, root=root)
    assert second.id == "other" and saved(second)["id"] == "other"


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_running_run_without_its_process_is_reported_as_stopped(root, how):
    run = dead_run(root, how)
    assert run.meta["status"] == "running"
    assert run.status == "stopped (process ended)"


def test_a_process_id_used_again_by_another_process_does_not_count(root):
    run = Run.create("demo", {}, root=root)
    assert run.status == "running"
    if run.meta["pid_start"] is not None:
        run.meta["pid_start"] -= 1
        assert run.status == "stopped (process ended)"


def test_a_killed_child_that_nobody_waited_for_has_ended(root):
    code = (
        "import sys\nfrom utils import Run\nprint(Run.create('demo', {}, root=sys.argv[1]).id, flush=True)\n"
    )
    code += "import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    run = Run.open(root / "demo" / child.stdout.readline().strip())
    assert run.status == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert run.status == "stopped (process ended)"
    child.wait()
    child.stdout.close()


def test_a_run_on_another_machine_cannot_be_judged(root):
    run = dead_run(root)
    run.meta["host"] = "elsewhere"
    assert run.status == "running"


def test_resume_takes_a_dead_run_and_not_a_live_one(root):
    run = dead_run(root)
    run.resume()
    assert saved(run)["pid"] == os.getpid() and run.status == "running" and len(saved(run)["resumed"]) == 1
    run.meta["pid"] = os.getppid()
    run.meta["pid_start"] = runs_module._process_start(os.getppid())
    with pytest.raises(UserError, match="still running"):
        run.resume()


def test_find_run_by_path_id_stage_and_last(root):
    first = Run.create("demo", {}, root=root)
    second = Run.create("sft", {}, root=root)
    assert find_run("last", root=root).id == second.id
    assert find_run("last", stage="demo", root=root).id == first.id
    assert find_run(first.id, root=root).path == first.path
    assert find_run(f"demo/{first.id}", root=root).path == first.path
    assert find_run(first.path, root=root).path == first.path
    assert [run.id for run in list_runs(root=root)] == [second.id, first.id]


def test_last_is_the_newest_start_not_the_newest_name(root):
    old = Run.create("demo", {}, root=root, run_id="zzz")
    new = Run.create("demo", {}, root=root, run_id="aaa")
    assert old.meta["start"] < new.meta["start"]
    assert find_run("last", root=root).id == "aaa"


def test_an_absent_run_error_says_where_it_looked_and_what_there_is(root):
    with pytest.raises(UserError, match=r"no runs yet \(looked in .*runs\)"):
        find_run("last", root=root)
    ids = [Run.create("demo", {}, root=root, run_id=f"r{n}").id for n in range(7)]
    with pytest.raises(UserError) as caught:
        find_run("nope", root=root)
    assert str(root) in str(caught.value) and ", ".join(reversed(ids[2:])) in str(caught.value)
    assert "r1" not in str(caught.value)
    with pytest.raises(UserError, match="no sft runs yet"):
        find_run("last", stage="sft", root=root)


def test_an_id_in_two_stages_must_be_spelled_out(root):
    Run.create("demo", {}, root=root, run_id="x")
    Run.create("sft", {}, root=root, run_id="x")
    with pytest.raises(UserError, match=r"not unique.*demo/x"):
        find_run("x", root=root)
    assert find_run("sft/x", root=root).stage == "sft"
    assert find_run("x", stage="demo", root=root).stage == "demo"


@pytest.mark.parametrize("content", [b"", b'{"stage": "demo", "id', b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_run_json_is_one_line_and_never_last(root, content):
    good = Run.create("demo", {}, root=root)
    bad = Run.create("demo", {}, root=root)
    (bad.path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json"):
        Run.open(bad.path)
    assert find_run("last", root=root).id == good.id


def test_a_folder_without_run_json_is_not_a_run(root, tmp_path):
    with pytest.raises(UserError, match=r"is not a run: it has no run\.json"):
        Run.open(tmp_path)


def test_creating_a_run_does_not_import_torch(root):
    code = "import sys\nfrom utils import Run\nRun.create('demo', {}, root=sys.argv[1]).finish()\n"
    code += "assert 'torch' not in sys.modules and 'omegaconf' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
