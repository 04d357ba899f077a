"""Tracking: JSONL is the truth, CSV and services repeat it, and none of them can stop a training."""

import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import tracking_checks as laws

from utils.errors import UserError
from utils.tracking import SINKS, SinkOptions, check_sinks, open_sinks


def test_a_failing_sink_never_stops_training(tmp_path):
    laws.check_a_failing_sink_never_stops_training(tmp_path)


def test_a_sink_that_cannot_open_is_one_line(tmp_path):
    laws.check_a_sink_that_cannot_open_is_one_line(tmp_path)


def test_csv_says_what_jsonl_says(tmp_path):
    laws.check_csv_says_what_jsonl_says(tmp_path)


# ---------------------------------------------------------------- services


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra track is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from utils.tracking_services import TensorBoardSink

    def read():
        events = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=False).Reload()
        return {(n, e.step): e.value for n in events.Tags()["scalars"] for e in events.Scalars(n)}

    laws.check_a_service_gets_every_number(TensorBoardSink(SinkOptions(tmp_path, config={"lr": 1.0})), read)


class FakeRun:
    """What the sinks use of a W&B or Trackio run; keeps points."""

    def __init__(self, **options):
        self.options, self.points, self.metrics, self.finished = options, {}, {}, False

    def define_metric(self, name, step_metric=None):
        self.metrics[name] = step_metric

    def log(self, values, step=None):
        values = dict(values)
        step = values.pop("step") if step is None else step
        self.points |= {(name, step): value for name, value in values.items()}

    def finish(self):
        self.finished = True


@pytest.fixture
def fake_wandb(monkeypatch):
    """A stand-in for the package: `runs` are those opened, `online` what opening one online raises."""
    module = types.ModuleType("wandb")
    module.runs, module.online = [], None

    class Settings:
        base_url = "https://api.example.org"

        def __init__(self, **options):
            self.options = options

    def init(**options):
        if options["mode"] == "online" and module.online is not None:
            raise module.online
        module.runs.append(FakeRun(**options))
        return module.runs[-1]

    module.Settings, module.init = Settings, init
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    return module


def test_wandb_gets_every_number_and_goes_on_with_the_same_run(tmp_path, fake_wandb, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k")
    from utils.tracking_services import WandbSink

    sink = WandbSink(SinkOptions(tmp_path, "book", "run-7", {"lr": 0.1}))
    run = fake_wandb.runs[0]
    laws.check_a_service_gets_every_number(sink, lambda: run.points)
    assert run.finished and run.metrics == {"step": None, "*": "step"}, "W&B's own step must not go back"
    kept = {name: run.options[name] for name in ("project", "id", "mode", "resume", "config")}
    assert kept == {
        "project": "book",
        "id": "run-7",
        "mode": "online",
        "resume": "allow",
        "config": {"lr": 0.1},
    }


@pytest.mark.parametrize("why", ["key", "network"])
def test_wandb_without_a_key_or_a_network_is_one_line_and_offline(why, tmp_path, fake_wandb, monkeypatch):
    if why == "network":
        monkeypatch.setenv("WANDB_API_KEY", "k")
        fake_wandb.online = ConnectionError("no such host\nsecond line")
    warnings = []
    open_sinks(["wandb"], SinkOptions(tmp_path, run="r", warn=warnings.append)).close()
    assert [run.options["mode"] for run in fake_wandb.runs] == ["offline"]
    assert len(warnings) == 1 and "\n" not in warnings[0] and "wandb sync" in warnings[0]
    assert ("key" if why == "key" else "no such host") in warnings[0]


def test_wandb_reads_the_key_of_wandb_login_and_its_mode(tmp_path, fake_wandb, monkeypatch):
    (tmp_path / "netrc").write_text("machine api.example.org\n login user\n password 0123\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    open_sinks(["wandb"], SinkOptions(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    open_sinks(["wandb"], SinkOptions(tmp_path))
    open_sinks(["wandb"], SinkOptions(tmp_path, mode="online"))
    assert [run.options["mode"] for run in fake_wandb.runs] == ["online", "offline", "online"]


def test_the_real_wandb_records_offline(tmp_path):
    pytest.importorskip("wandb", reason="the extra track is not installed")
    code = (
        "import sys\nfrom pathlib import Path\nfrom utils.tracking import SinkOptions, open_sinks\n"
        "sinks = open_sinks(['wandb'], SinkOptions(Path(sys.argv[1]), run='r1', config={'lr': 1.0}))\n"
        "sinks.log({'step': 5, 'split': 'val', 'loss': 1.2345})\nsinks.close()\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment = {**kept, "NETRC": os.devnull, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, f"it chats: {done.stderr}"
    (record,) = tmp_path.glob("wandb/offline-run-*-r1/run-r1.wandb")
    assert b"val/loss" in record.read_bytes()


@pytest.fixture
def fake_trackio(monkeypatch):
    """A stand-in for the package, with the names and arguments of its documentation (v0.30)."""
    module = types.ModuleType("trackio")
    module.runs = []

    def init(project, name=None, config=None, resume="never", embed=True):
        print("* Trackio project initialized")
        module.runs.append(FakeRun(project=project, name=name, config=config, resume=resume, embed=embed))
        return module.runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "trackio", module)
    return module


def test_trackio_gets_every_number(tmp_path, fake_trackio, capsys):
    from utils.tracking_services import TrackioSink

    sink = TrackioSink(SinkOptions(tmp_path, "book", "run-7", {"lr": 0.1}))
    run = fake_trackio.runs[0]
    laws.check_a_service_gets_every_number(sink, lambda: run.points)
    assert run.finished and capsys.readouterr().out == ""
    assert run.options == {
        "project": "book", "name": "run-7", "config": {"lr": 0.1}, "resume": "allow", "embed": False,
    }  # fmt: skip


# ---------------------------------------------------------------- bad input


def test_an_unknown_sink_and_a_missing_package_are_named_before_any_work(monkeypatch):
    with pytest.raises(UserError, match=r"no sink named .tensorbord.: did you mean .?tensorboard"):
        check_sinks(["csv", "tensorbord"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb", "trackio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.raises(UserError, match=f"{name} needs the package {name}: pip install"):
            check_sinks([name])
    check_sinks([name for name in SINKS if name in ("csv", "jsonl", "console")])


def test_a_config_with_an_unknown_sink_is_refused():
    from pretraining.config import PretrainConfig
    from utils.config import load_config

    with pytest.raises(UserError, match="no sink named 'papyrus'"):
        load_config(PretrainConfig, None, ["track=[papyrus]"])
    with pytest.raises(UserError, match="track_mode"):
        load_config(PretrainConfig, None, ["track_mode=sometimes"])


def test_the_flag_names_sinks_and_the_run_has_their_files(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra track is not installed")
    from recipe_checks import TINY, small_texts

    from pretraining.train import main
    from utils.cli import run_main
    from utils.runs import find_run

    words = [*TINY, f"data={small_texts(tmp_path / 'text')}", f"runs={tmp_path}", "steps=3", "--quiet"]
    assert run_main(main, [*words, "--track", "tensorboard", "--track", "jsonl"]) == 0
    run = find_run("last", root=tmp_path)
    assert run.meta["config"]["track"] == ["tensorboard", "jsonl"]
    assert (run.path / "tracked.jsonl").is_file() and list((run.path / "tensorboard").glob("events*"))
    assert (run.path / "metrics.csv").read_text().count("\n") >= 4
