"""LS7, deployment: functions that raise AssertionError. A job outlives its machine, a spec reaches the provider, an
image is the project's own pins.

`test_deployment_laws.py` calls them on the code as it is, `tests/mutations/test_deployment_mutations.py` on code with a
classic bug put back.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from deployment import jobs, resume
from deployment.jobs import Command, Interrupted, Job, run_job
from deployment.lease import Lease, LostLease
from deployment.places import Place, local_place
from utils.errors import UserError
from utils.runs import Run

LAWS = Path(__file__).parent
ROOT = LAWS.parents[1]
APPS = ("modal_train", "modal_serve", "modal_vscode")
TINY = (
    *(
        "data=storyland",
        "max_documents=60",
        "tokenizer=byte",
        "preset=debug",
        "model.block_size=32",
        "device=cpu",
    ),
    *("model.n_embd=16", "model.n_head=2", "model.n_layer=1", "batch_size=2", "prompts=[]", "log_every=1"),
    *("eval_every=0", "eval_tokens=64"),
)


class Toy:
    """`deployment.jobs` with the toy command, which starts in a moment; used as a context manager."""

    def __enter__(self) -> Toy:
        jobs.COMMANDS["toy"] = Command("toy_job", "toy")
        self.before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(LAWS), str(ROOT)])
        return self

    def __exit__(self, *error: object) -> None:
        del jobs.COMMANDS["toy"]
        os.environ.pop("PYTHONPATH")
        if self.before is not None:
            os.environ["PYTHONPATH"] = self.before


def quick(place: Place, name: str) -> Lease:
    """A lease that runs out at once for the living, as after a long night."""
    return Lease(place, name, seconds=0.05, patience=30.0, sleep=lambda s: time.sleep(min(s, 0.02)))


def attempt(job: Job, place: Place, **options: Any) -> Any:
    return run_job(job, place, lease=options.pop("lease", quick), say=lambda text: None, **options)


def trace(root: Path, stage: str, run_id: str) -> dict[int, float]:
    """Step -> number, as the last that was written about it."""
    return {row["step"]: row["x"] for row in Run.open(root / stage / run_id).metrics()}


# ---------------------------------------------------------------- an attempt ends, the job does not


def _lines(run: Path) -> int:
    file = run / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def die_on_another_machine(root: Path, words: list[str], job: Job, after: int) -> int:
    """Begin the job in a process group of its own, SIGKILL all of it after so many steps, and make run.json and the
    lease say that it was elsewhere. Returns the newest whole checkpoint."""
    code = (
        "import sys; from deployment import jobs; jobs.COMMANDS['toy'] = jobs.Command('toy_job', 'toy'); "
        "raise SystemExit(jobs.main(sys.argv[1:]))"
    )
    run, command = root / job.stage / job.run_id, [sys.executable, "-c", code, "--runs", str(root), *words]
    machine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = _lines(run)
    until = time.monotonic() + 300
    while time.monotonic() < until and machine.poll() is None:
        if _lines(run) >= before + after:
            break
        time.sleep(0.005)
    machine.kill()
    machine.wait()
    file = run / "run.json"
    meta = json.loads(file.read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(meta["pid"], signal.SIGKILL)
    while Run.open(run).status == "running":
        time.sleep(0.01)
    file.write_text(json.dumps({**json.loads(file.read_text()), "host": "a-machine-that-is-gone"}))
    for note in (root / "leases").glob("*.json"):
        long_ago = {"host": "a-machine-that-is-gone", "renewed": 0}
        note.write_text(json.dumps({**json.loads(note.read_text()), **long_ago}))
    return resume.look(root, job.stage, job.run_id).step


def check_killed_jobs_go_on(folder: Path, kills: int = 2, seed: int = 1) -> None:
    """The same command after every kill: the run of that name goes on from its last checkpoint, to the same end."""
    with Toy():
        whole = Job("whole", "toy", ("steps=40",))
        assert attempt(whole, local_place(folder)).status == "complete"
        killed, chance = Job("killed", "toy", ("steps=40", "nap=0.02")), random.Random(seed)
        words = ["--run-id", "killed", "--command", "toy", "--", *killed.arguments]
        safe = [die_on_another_machine(folder, words, killed, chance.randrange(6, 14)) for _ in range(kills)]
        assert safe == sorted(safe) and safe[0] >= 5, f"checkpoints after each kill: {safe}"
        try:
            result = attempt(killed, local_place(folder))
        except UserError as refused:
            raise AssertionError(
                f"the run of a machine that is gone is not taken up again: {refused}"
            ) from None
        assert result.status == "complete", f"after {kills} kills the job ended as {result}"
        assert result.began == safe[-1], (
            f"it began at step {result.began}, but step {safe[-1]} was safe: what was learned was thrown away"
        )
        names = sorted(path.name for path in (folder / "toy").iterdir())
        assert names == ["killed", "whole"], f"a job is one run under one name, and there are {names}"
        assert trace(folder, "toy", "killed") == trace(folder, "toy", "whole"), "another run came out"
        assert len(Run.open(folder / "toy" / "killed").meta["resumed"]) == kills, (
            "an attempt that nobody noted"
        )
        again = attempt(killed, local_place(folder))
        assert (again.status, again.began, again.seconds) == ("complete", 40, 0.0), (
            "a complete job was run again"
        )


def check_a_run_without_checkpoints_begins_again(folder: Path) -> None:
    """Killed before the first save: nothing was learned, and the name is free again."""
    with Toy():
        job = Job("early", "toy", ("steps=40", "save_every=30", "nap=0.02"))
        words = ["--run-id", "early", "--command", "toy", "--", *job.arguments]
        assert die_on_another_machine(folder, words, job, 3) == 0
        result = attempt(job, local_place(folder))
        assert (result.status, result.began, result.step) == ("complete", 0, 40), str(result)
        assert len(trace(folder, "toy", "early")) == 40


def check_real_training_survives_its_machine(folder: Path) -> None:
    """The real command: killed once and started again by name, its weights and losses are those of the calm one."""
    arguments = (*TINY, "steps=40", "save_every=5")
    place = local_place(folder)
    assert attempt(Job("calm", "pretrain", arguments), place).status == "complete"
    job = Job("stormy", "pretrain", arguments)
    words = ["--run-id", "stormy", "--", *arguments]
    safe = die_on_another_machine(folder, words, job, 12)
    result = attempt(job, place)
    assert result.status == "complete" and result.step == 40, str(result)
    assert result.began == safe >= 5, f"it went on from {result.began}, safe was {safe}"
    losses = [
        {
            row["step"]: row["loss"]
            for row in Run.open(folder / "pretrain" / name).metrics()
            if row["split"] == "train"
        }
        for name in ("calm", "stormy")
    ]
    assert losses[0] == losses[1], "a run that lost its machine has other losses"
    files = [
        folder / "pretrain" / name / "checkpoints" / "step_000040" / "model.safetensors"
        for name in ("calm", "stormy")
    ]
    assert files[0].read_bytes() == files[1].read_bytes(), "a run that lost its machine has other weights"


def check_each_checkpoint_is_committed_at_once(folder: Path) -> None:
    """A volume keeps what was committed: a save waits here until somebody has, and nobody may wait in vain."""

    def commit() -> None:
        found = resume.look(folder, "toy", "kept")
        (folder / "committed").write_text(str(found.step))

    with Toy():
        job = Job("kept", "toy", ("steps=15", "wait=1"))
        try:
            result = attempt(job, Place(folder, commit))
        except Interrupted as error:
            result = error.result
        assert result.status == "complete", (
            f"{result}: a checkpoint was whole and on no volume; the machine may go"
        )


def check_the_deadline_saves(folder: Path) -> None:
    """Before the time limit of the machine the job is asked to stop: it saves, and the next goes on."""
    with Toy():
        job = Job("long", "toy", ("steps=100000", "save_every=100000"))
        with contextlib.suppress(UserError):
            try:
                ended = attempt(job, local_place(folder), deadline=1.5)
            except Interrupted as error:
                ended = error.result
        assert ended.status == "stopped" and ended.step > 0, (
            f"{ended}: the time limit would have taken everything"
        )
        assert Run.open(folder / "toy" / "long").meta["error"] == "asked to"
        config = Run.open(folder / "toy" / "long")
        config.note(config={**config.meta["config"], "steps": ended.step + 3})
        after = attempt(job, local_place(folder))
        assert (after.status, after.began) == ("complete", ended.step), str(after)


def check_what_is_tried_again(folder: Path) -> None:
    """Another attempt costs money: none for bad input, none for a fall at the same place, one after progress."""
    with Toy():
        place = local_place(folder)
        bad = Job("bad", "toy", ("bad=1",))
        try:
            result = attempt(bad, place)
        except Interrupted as error:
            raise AssertionError(f"bad input was sent back to be tried again: {error}") from None
        assert (result.status, result.code) == ("failed", 2) and "bad is 1" in str(result.reason), str(result)
        falls = Job("falls", "toy", ("fall=12",))
        try:
            gone = attempt(falls, place)
            raise AssertionError(f"it fell after it had come further, and was given up: {gone}")
        except Interrupted as error:
            assert error.result.step == 10
        stuck = Job("stuck", "toy", ("fall=3",))
        try:
            result = attempt(stuck, place)
        except Interrupted as error:
            raise AssertionError(
                f"it fell without having come further, and would fall for ever: {error}"
            ) from None
        assert result.status == "failed" and result.code == 1


# ---------------------------------------------------------------- one machine at a time


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.t = 1000.0
        self.on_sleep: Any = lambda: None

    def now(self) -> float:
        return self.t

    def sleep(self, seconds: float) -> None:
        self.t += max(seconds, 0.5)
        self.on_sleep()


def _lease(folder: Path, clock: Clock, host: str, **more: Any) -> Lease:
    made = Lease(
        Place(folder), "pretrain/a", seconds=30.0, patience=100.0, now=clock.now, sleep=clock.sleep, **more
    )
    made._me["host"] = host
    return made


def check_one_machine_at_a_time(folder: Path) -> None:
    """While one renews, another waits and is refused; when it has fallen silent, the other works, and the first that
    wakes up finds out and stops."""
    clock = Clock()
    first, second = _lease(folder, clock, "a"), _lease(folder, clock, "b")
    first.__enter__()
    clock.on_sleep = first.renew
    try:
        second.__enter__()
        raise AssertionError("two machines train one run: the first renews its lease, and the second came in")
    except UserError as refused:
        assert "on a" in str(refused) and "choose another run id" in str(refused), str(refused)
    clock.on_sleep = lambda: None
    silent_since = clock.t
    second.__enter__()
    assert 10.0 <= clock.t - silent_since <= 45.0, (
        f"taken over after {clock.t - silent_since} s of a lease of 30"
    )
    try:
        first.renew()
        raise AssertionError("a machine that was cut off goes on writing although another has the run")
    except LostLease as lost:
        assert "on b" in str(lost)
    first.__exit__(None, None, None)
    assert second.file.exists(), "a machine gave back a lease that was not its own"
    second.__exit__(None, None, None)
    assert not second.file.exists(), "a lease that is given back is gone"


def check_two_that_come_at_once(folder: Path) -> None:
    """Both find it free and both write: each reads its note back, and one of them finds the other's name."""
    clock = Clock()
    first, second = _lease(folder, clock, "a", settle=1.0), _lease(folder, clock, "b", settle=1.0)
    entered = []

    def meanwhile() -> None:
        clock.on_sleep = lambda: None
        second._write()  # found it free at the same moment
        entered.append("b")
        clock.on_sleep = second.renew

    clock.on_sleep = meanwhile
    try:
        first.__enter__()
        entered.append("a")
    except UserError:
        pass
    assert entered == ["b"], f"{entered} hold the lease at once"


# ---------------------------------------------------------------- what the provider is told


class Told:
    """A stand-in for what Modal's decorators and lookups are given; put in place while an app file is imported."""

    def __init__(self, monkeypatch: Any, app: str, environment: dict[str, str]) -> None:
        import modal

        self.options: list[dict[str, Any]] = []
        self.concurrent: list[dict[str, Any]] = []
        self.clustered: list[int] = []
        self.packages: list[str] = []
        self.extra_options: list[str] = []

        def record(_: Any, **options: Any) -> Any:
            self.options.append(options)
            return lambda body: body

        def also(kind: list[Any], key: str | None) -> Any:
            def decorator(**options: Any) -> Any:
                kind.append(options if key is None else options[key])
                return lambda body: body

            return decorator

        def install(image: Any, *packages: str, extra_options: str = "", **more: Any) -> Any:
            self.packages += packages
            self.extra_options.append(extra_options)
            return image

        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(modal.App, "function", record)
        monkeypatch.setattr(modal.App, "cls", record)
        monkeypatch.setattr(modal.App, "local_entrypoint", lambda _: lambda body: body)
        monkeypatch.setattr(modal, "clustered", also(self.clustered, "size"))
        monkeypatch.setattr(modal, "concurrent", also(self.concurrent, None))
        monkeypatch.setattr(modal.Image, "pip_install", install)
        monkeypatch.setattr(modal.Volume, "from_name", staticmethod(lambda name, **_: f"volume {name}"))
        monkeypatch.setattr(modal.Secret, "from_name", staticmethod(lambda name, **_: f"secret {name}"))
        sys.modules.pop(f"deployment.{app}", None)
        self.module = importlib.import_module(f"deployment.{app}")
        sys.modules.pop(f"deployment.{app}")


def check_training_gets_what_the_spec_says(monkeypatch: Any) -> None:
    """GPU, volume, secrets, retries and time limit of `TrainSpec` are what Modal's decorators are given."""
    settings = {"GPU": "A100-80GB:4", "RETRIES": "7", "TIMEOUT_HOURS": "3", "SECRETS": "wandb, huggingface"}
    told = Told(
        monkeypatch,
        "modal_train",
        {f"SCRATCHBOOK_MODAL_{k}": v for k, v in {**settings, "NODES": "4", "VOLUME": "v"}.items()},
    )
    assert len(told.options) == 2 and told.clustered == [4]
    for options in told.options:
        assert options["gpu"] == "A100-80GB:4"
        assert options["volumes"] == {"/vol": "volume v"}, "runs that lie on no volume go with the machine"
        assert options["secrets"] == ["secret wandb", "secret huggingface"]
        assert options["timeout"] == 3 * 3600, (
            f"a time limit of {options['timeout']} s: Modal's default is five minutes"
        )
        assert options["retries"] is not None and options["retries"].max_retries == 7, (
            "nobody starts it again"
        )
    assert told.options[0]["single_use_containers"] is True, (
        "an attempt inherits what a crashed one left in the GPU"
    )
    assert told.module.SPEC.deadline < 3 * 3600 - 60, "no time is left to save before the limit"


def check_serving_gets_what_the_spec_says(monkeypatch: Any) -> None:
    """The server sleeps when nobody asks, is one container with many requests, and has its password from a secret."""
    told = Told(
        monkeypatch,
        "modal_serve",
        {"SCRATCHBOOK_SERVE_CONCURRENCY": "9", "SCRATCHBOOK_SERVE_IDLE_MINUTES": "2"},
    )
    (options,) = told.options
    assert options["min_containers"] == 0, "a container that never sleeps is paid for day and night"
    assert options["max_containers"] == 1, (
        "a chat's cache lives in one process: two containers forget each other's"
    )
    assert (options["scaledown_window"], options["enable_memory_snapshot"], options["gpu"]) == (
        120,
        True,
        None,
    )
    assert options["secrets"] == ["secret scratchbook-password"], "open to the internet without a password"
    assert told.concurrent == [{"max_inputs": 9}]


def check_a_workspace_gets_what_the_spec_says(monkeypatch: Any) -> None:
    """Kept files on a volume, an end by itself, and no second one that nobody asked for."""
    told = Told(
        monkeypatch, "modal_vscode", {"SCRATCHBOOK_WORKSPACE_GPU": "L4", "SCRATCHBOOK_WORKSPACE_HOURS": "2"}
    )
    (options,) = told.options
    assert options["gpu"] == "L4" and options["volumes"] == {"/workspace": "volume scratchbook-workspace"}
    assert 7200 <= options["timeout"] <= 7500 and options["retries"] == 0


def check_images_hold_our_own_pins(monkeypatch: Any, app: str, extras: tuple[str, ...]) -> None:
    """Every requirement of pyproject.toml at the version of constraints.txt and no other; pip is held to the file."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    told = Told(monkeypatch, app, {})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [
        *project["dependencies"],
        *(t for extra in extras for t in project["optional-dependencies"][extra]),
    ]
    wanted = {canonicalize_name(Requirement(text).name): Requirement(text) for text in texts}
    held = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            held[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    got = {
        canonicalize_name(Requirement(text).name): next(iter(Requirement(text).specifier))
        for text in told.packages
    }
    assert got.keys() == wanted.keys(), (
        f"the image differs from pyproject in {sorted(got.keys() ^ wanted.keys())}"
    )
    for name, pin in got.items():
        assert pin.operator == "==" and pin.version == held[name], f"{name} is {pin}, tested was {held[name]}"
        assert wanted[name].specifier.contains(pin.version), (
            f"{name} {pin} is outside pyproject's {wanted[name]}"
        )
    assert all("--constraint" in text for text in told.extra_options), (
        "what comes in besides is held by nothing"
    )


def check_bodies_are_one_call(folder: Path = ROOT / "deployment") -> None:
    """What runs on the other side is a call of something that a test can call here."""
    for app in APPS:
        tree = ast.parse((folder / f"{app}.py").read_text(encoding="utf-8"))
        bodies = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert bodies, f"{app} has no function"
        for body in bodies:
            inside = [
                line
                for line in body.body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
            one = len(inside) == 1 and isinstance(inside[0], ast.Return | ast.Expr | ast.Assign)
            assert one and isinstance(inside[0].value, ast.Call), (
                f"{app}.{body.name} does something by itself"
            )  # type: ignore[union-attr]


# ---------------------------------------------------------------- without an account

ALONE = """
import socket, sys
def refuse(*a, **k): raise OSError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
import importlib
for name in sys.argv[1:]:
    importlib.import_module("deployment." + name)
print("imported")
"""


def check_apps_import_without_an_account(home: Path, root: Path = ROOT) -> None:
    """All app files import with no token, no network, from `root` alone."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MODAL_", "SCRATCHBOOK_"))}
    environment |= {"HOME": str(home), "PYTHONPATH": str(root), "MODAL_CONFIG_PATH": str(home / "none.toml")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *APPS], capture_output=True, text=True, cwd=root, env=environment
    )
    assert done.stdout.strip().endswith("imported"), f"not importable alone: {done.stderr[-600:]}"


def check_a_container_has_what_it_imports(folder: Path) -> None:
    """Only the files that an image gets, in an empty folder: the apps import there, and a model trains."""
    from deployment.image import files

    box = folder / "box"
    for path in files():
        (box / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, box / path)
    check_apps_import_without_an_account(folder, box)
    words = ["--run-id", "boxed", "--runs", str(folder / "runs"), "--", *TINY, "steps=2"]
    code = (
        "import sys; from deployment import jobs; assert jobs.__file__.startswith(sys.argv.pop(1)); "
        "raise SystemExit(jobs.main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(box)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(box), *words],
        capture_output=True,
        text=True,
        cwd=box,
        env=environment,
    )
    assert done.returncode == 0, (
        f"a training in a container's files failed: {done.stdout[-300:]} {done.stderr[-600:]}"
    )


def check_local_runs_a_job(monkeypatch: Any, folder: Path) -> None:
    """`.local()` runs the whole job here; again, it finds it done."""
    monkeypatch.setenv("SCRATCHBOOK_RUNS", str(folder))
    train = importlib.import_module("deployment.modal_train").train
    job = {
        "run_id": "here",
        "command": "pretrain",
        "arguments": [*TINY, "steps=2"],
        "processes": 1,
        "nodes": 1,
    }
    first = train.local(job)
    assert (first["status"], first["step"], first["path"]) == (
        "complete",
        2,
        str(folder / "pretrain" / "here"),
    ), first
    second = train.local(job)
    assert (second["status"], second["seconds"]) == ("complete", 0.0), second
