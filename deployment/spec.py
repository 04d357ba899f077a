"""What is asked of the provider, as plain data: one frozen dataclass for each app, and nothing of Modal in it.

Modal reads its decorators when a file is imported, before any argument is parsed. So the choices come from
environment variables (`SCRATCHBOOK_MODAL_GPU=H100:8 modal run …`), are checked here, on this machine, and are handed
over as keyword arguments by `…_options`. Tests look at these dataclasses and at what reaches Modal's decorators.
Left out: regions and clouds, which are the provider's business until a law or a bill says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from deployment.cost import Gpu, parse_gpu
from utils.errors import UserError

PREFIX = "SCRATCHBOOK_MODAL_"
LONGEST_HOURS = 24.0  # of one attempt on Modal
MARGIN_SECONDS = 300.0  # before the time limit: to finish a step, save, and commit
S = TypeVar("S")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainSpec:
    """A training job: SCRATCHBOOK_MODAL_GPU and so on."""

    gpu: str = _key("H100", "kind and number: H100, H100:8, A100-80GB:4 …")
    nodes: int = _key(2, "machines of the clustered function; each needs a full one, such as gpu=H100:8")
    timeout_hours: float = _key(LONGEST_HOURS, "of one attempt; the job itself may take many")
    retries: int = _key(10, "further attempts after a preemption, a timeout or a crash that had come further")
    cores: float = _key(4.0, "physical cores for reading data")
    memory_gib: int = _key(16, "of the machine")
    volume: str = _key("scratchbook", "the Modal Volume with data and runs; made if it is not there")
    mount: str = _key("/vol", "where it is seen")
    secrets: tuple[str, ...] = _key((), "names of Modal Secrets, such as wandb,huggingface")

    def __post_init__(self) -> None:
        parse_gpu(self.gpu)
        _between("timeout_hours", self.timeout_hours, 0.25, LONGEST_HOURS)
        _between("retries", self.retries, 0, 100)
        _between("nodes", self.nodes, 1, 64)
        _between("cores", self.cores, 0.125, 64)
        _between("memory_gib", self.memory_gib, 1, 1000)
        _absolute("mount", self.mount)

    @property
    def gpus(self) -> Gpu:
        """The kind and number of GPUs in one machine."""
        return parse_gpu(self.gpu)

    @property
    def deadline(self) -> float:
        """Seconds after which an attempt is asked to save and stop, so that the time limit finds nothing to lose."""
        return self.timeout_hours * 3600 - MARGIN_SECONDS


@dataclass(frozen=True)
class ServeSpec:
    """The server: SCRATCHBOOK_SERVE_GPU and so on. One container, because a chat and its cache live in one process."""

    gpu: str = _key("", "empty: the CPU, which is enough for the book's models")
    cores: float = _key(2.0, "physical cores")
    memory_gib: int = _key(4, "of the container")
    concurrency: int = _key(64, "requests at a time in the container; streams count as long as they last")
    idle_minutes: float = _key(5.0, "without a request until it goes to sleep: scale to zero")
    ckpt: str = _key("assets", "the model a chat begins with")
    volume: str = _key("scratchbook", "the Modal Volume with the runs")
    mount: str = _key("/vol", "where it is seen")
    password_secret: str = _key("scratchbook-password", "a Modal Secret that sets SCRATCHBOOK_PASSWORD")

    def __post_init__(self) -> None:
        if self.gpu:
            parse_gpu(self.gpu)
        _between("concurrency", self.concurrency, 1, 1000)
        _between("idle_minutes", self.idle_minutes, 0.1, 60)
        _between("cores", self.cores, 0.125, 64)
        _between("memory_gib", self.memory_gib, 1, 1000)
        _absolute("mount", self.mount)
        if not self.password_secret:
            raise UserError("password_secret is empty: a server on the open internet has a password")

    @property
    def device(self) -> str:
        """Where the models are."""
        return "cuda" if self.gpu else "cpu"


@dataclass(frozen=True)
class WorkspaceSpec:
    """A machine to work on: SCRATCHBOOK_WORKSPACE_GPU and so on."""

    gpu: str = _key("", "empty: no GPU")
    cores: float = _key(4.0, "physical cores")
    memory_gib: int = _key(16, "of the container")
    hours: float = _key(4.0, "until it ends by itself")
    volume: str = _key("scratchbook-workspace", "the Modal Volume that is kept; mounted at `mount`")
    mount: str = _key("/workspace", "where your files are")
    jupyter_port: int = _key(8888, "inside the container")
    code_port: int = _key(8080, "inside the container")
    ssh_port: int = _key(2222, "inside the container")

    def __post_init__(self) -> None:
        if self.gpu:
            parse_gpu(self.gpu)
        _between("hours", self.hours, 0.1, LONGEST_HOURS)
        _between("cores", self.cores, 0.125, 64)
        _between("memory_gib", self.memory_gib, 1, 1000)
        _absolute("mount", self.mount)
        ports = (self.jupyter_port, self.code_port, self.ssh_port)
        for port in ports:
            _between("port", port, 1024, 65535)
        if len(set(ports)) < len(ports):
            raise UserError(f"ports are {ports}: each service needs its own")


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} is {value} but must be from {low:g} to {high:g}")


def _absolute(name: str, path: str) -> None:
    if not path.startswith("/") or path == "/" or ".." in path:
        raise UserError(f"{name} is {path!r} but must be an absolute folder of the container, such as /vol")


def from_environment(cls: type[S], prefix: str = PREFIX, environment: Mapping[str, str] = os.environ) -> S:
    """A spec whose fields come from PREFIX + NAME where that is set. Raises UserError for one that cannot be read.

    >>> from_environment(TrainSpec, environment={"SCRATCHBOOK_MODAL_GPU": "A100-80GB:4"}).gpus.count
    4
    """
    kinds, values = get_type_hints(cls), {}
    for each in fields(cls):  # type: ignore[arg-type]
        text = environment.get(prefix + each.name.upper())
        if text is None:
            continue
        kind = kinds[each.name]
        try:
            if kind in (int, float):
                values[each.name] = kind(text)
            elif kind is str:
                values[each.name] = text.strip()
            else:
                values[each.name] = tuple(part.strip() for part in text.split(",") if part.strip())
        except ValueError:
            raise UserError(f"{prefix}{each.name.upper()} is {text!r} but must be a number") from None
    unknown = [
        name for name in environment if name.startswith(prefix)
        and name.removeprefix(prefix).lower() not in kinds
    ]  # fmt: skip
    if unknown:
        names = ", ".join(prefix + name.upper() for name in kinds)
        raise UserError(f"{unknown[0]} is set but means nothing: the settings are {names}")
    return cls(**values)


def train_options(spec: TrainSpec, *, single_node: bool = True) -> dict[str, Any]:
    """What `@app.function` gets for a training job.

    A fresh container for each attempt: what a crashed CUDA process leaves behind is not inherited.
    """
    import modal

    volume = modal.Volume.from_name(spec.volume, create_if_missing=True)
    return {
        "gpu": spec.gpu,
        "cpu": spec.cores,
        "memory": spec.memory_gib * 1024,
        "volumes": {spec.mount: volume},
        "secrets": [modal.Secret.from_name(name) for name in spec.secrets],
        "env": {"SCRATCHBOOK_DATA": f"{spec.mount}/data", "HF_HOME": f"{spec.mount}/huggingface"},
        "timeout": int(spec.timeout_hours * 3600),
        "retries": modal.Retries(
            max_retries=spec.retries, initial_delay=10.0, backoff_coefficient=2.0, max_delay=60.0
        ),
        "single_use_containers": single_node,
        "max_containers": None if single_node else spec.nodes,
    }


def serve_options(spec: ServeSpec) -> dict[str, Any]:
    """What `@app.cls` gets for the server: asleep when nobody asks, awake from a snapshot of its memory."""
    import modal

    return {
        "gpu": spec.gpu or None,
        "cpu": spec.cores,
        "memory": spec.memory_gib * 1024,
        "volumes": {spec.mount: modal.Volume.from_name(spec.volume, create_if_missing=True)},
        "secrets": [modal.Secret.from_name(spec.password_secret, required_keys=["SCRATCHBOOK_PASSWORD"])],
        "min_containers": 0,
        "max_containers": 1,
        "scaledown_window": int(spec.idle_minutes * 60),
        "timeout": 3600,
        "enable_memory_snapshot": not spec.gpu,  # of a GPU's memory it is an experiment of the provider
    }


def workspace_options(spec: WorkspaceSpec) -> dict[str, Any]:
    """What `@app.function` gets for a workspace. No retries: nobody wants a second one unasked."""
    import modal

    return {
        "gpu": spec.gpu or None,
        "cpu": spec.cores,
        "memory": spec.memory_gib * 1024,
        "volumes": {spec.mount: modal.Volume.from_name(spec.volume, create_if_missing=True)},
        "timeout": int(spec.hours * 3600) + 120,
        "retries": 0,
        "max_containers": 1,
    }
