"""`python -m chat_ui.benchmark`: how long a reader waits, alone and beside fifteen others, and what is left in memory.

    python -m chat_ui.benchmark chats=16 stopped=100

The idea: the whole server in a process of its own (`scratchbook serve`) and clients that speak HTTP to it, so that
every wait is the one a reader has. First one chat at a time; then all at once, while /health is asked over and over;
then chats that are started and left after their first token. The server's memory is read after each part. The first
part also serves as warm-up: what is loaded and allocated once is not counted as growth.

Clients and server share the machine's cores. Left out: the chat page's own work, and the way over a network.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import RunFailure, UserError
from utils.timing import Timer, write_result

RESULT = Path(__file__).with_name("results") / "server.json"
TURNS = ("Tell me a story.", "Give the opposites of closed and happy.", "Write a story with a lantern.")
PAUSE = 0.01  # seconds between two questions for /health


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ServerBenchmarkConfig:
    """Which model, how many chats, how often."""

    ckpt: str = _key("assets", "the model, as `scratchbook serve --ckpt` takes it")
    rounds: int = _key(15, "chats one after the other, for the wait of a lone reader")
    chats: int = _key(16, "chats at once")
    new: int = _key(100, "tokens of an answer at most")
    stopped: int = _key(100, "chats that are left after their first token, four at a time")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        for name in ("rounds", "chats", "new", "stopped"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: at least one is needed")
        if self.chats > 64:
            raise UserError(f"chats is {self.chats}: the server takes 64 answers at a time")


@contextmanager
def server(ckpt: str) -> Iterator[tuple[int, int]]:
    """`scratchbook serve` on a free port: (port, process id). Raises RunFailure when it does not start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chat_ui.serve", "--port", "0", "--ckpt", ckpt],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("SCRATCHBOOK_")},
    )  # fmt: skip
    printed = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if line.startswith("serve:"):
                break
        else:
            raise RunFailure(f"the server did not start: {''.join(printed).strip()[-500:]}")
        port = int(re.search(r":(\d+)", line.removeprefix("serve:").partition("//")[2])[1])  # type: ignore[index]
        health(port)  # the port is bound already: this waits until somebody answers
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def health(port: int) -> tuple[float, int]:
    """One question for /health: (seconds, answers that are being written)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with Timer() as timer:
        connection.request("GET", "/health")
        answers = json.loads(connection.getresponse().read())["answers"]
    connection.close()
    return timer.seconds, answers


def chat(port: int, model: str, seed: int, new: int, *, leave: bool = False) -> tuple[float, float, int]:
    """One streamed answer: seconds to its first words, seconds to its end, tokens. `leave`: hang up after the first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    body = {
        "model": model, "messages": [{"role": "user", "content": TURNS[seed % len(TURNS)]}],
        "max_tokens": new, "seed": seed, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    first, tokens = 0.0, 0
    with Timer() as timer:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        if answer.status != 200:
            raise RunFailure(f"a chat got {answer.status}: {answer.read()[:200]!r}")
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
            said = any(choice["delta"].get("content") for choice in chunk["choices"])
            if said and not first:
                first = timer.seconds
                if leave:
                    break
    connection.close()
    return first, timer.seconds, tokens


def default_model(port: int) -> str:
    """The public id of the server's default model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/v1/models")
    model: str = json.loads(connection.getresponse().read())["data"][0]["id"]
    connection.close()
    return model


def memory(pid: int) -> int | None:
    """The physical memory of a process in bytes; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def settled(port: int, pid: int, patience: float = 30.0) -> int | None:
    """The server's memory once nothing is written any more. Raises RunFailure where answers are left over."""
    end = time.monotonic() + patience
    while health(port)[1]:
        if time.monotonic() > end:
            raise RunFailure(f"after {patience:.0f} s there are still answers that nobody reads")
        time.sleep(0.05)
    return memory(pid)


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, the 99th of a hundred, and the worst."""
    ordered = sorted(seconds)
    return {
        "median_s": statistics.median(ordered),
        "p99_s": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "max_s": ordered[-1],
        "count": len(ordered),
    }


def measure(port: int, pid: int, config: ServerBenchmarkConfig) -> dict[str, Any]:
    """All three parts, on a server that runs."""
    new, model = config.new, default_model(port)
    alone = [chat(port, model, seed, new)[0] for seed in range(config.rounds)]
    with ThreadPoolExecutor(config.chats) as people:
        list(
            people.map(lambda n: chat(port, model, n, new), range(config.chats))
        )  # every row has been used once
        base = settled(port, pid)
        waits = []
        with Timer() as timer:
            going = [people.submit(chat, port, model, 100 + n, new) for n in range(config.chats)]
            while not all(each.done() for each in going):
                waits.append(health(port)[0])
                time.sleep(PAUSE)
        told = [each.result() for each in going]
    after_chats = settled(port, pid)
    with ThreadPoolExecutor(4) as people:
        list(people.map(lambda n: chat(port, model, n, new, leave=True), range(config.stopped)))
    return {
        "first_token_alone": spread(alone),
        "together": {
            "chats": config.chats,
            "finished": sum(tokens > 0 for *_, tokens in told),
            "tokens": sum(tokens for *_, tokens in told),
            "seconds": timer.seconds,
            "tokens_per_second": sum(tokens for *_, tokens in told) / timer.seconds,
            "first_token": spread([first for first, *_ in told]),
            "health": spread(waits),
        },
        "memory": {
            "base_bytes": base,
            "after_chats_bytes": after_chats,
            "stopped_chats": config.stopped,
            "after_stopped_bytes": settled(port, pid),
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the results file."""
    config, _ = parse_args(
        argv,
        ServerBenchmarkConfig,
        prog="python -m chat_ui.benchmark",
        description="One server, many readers: waits for a first token and for /health, and memory afterwards.",
        aliases={"--out": "out"},
    )
    load = list(os.getloadavg())
    with server(config.ckpt) as (port, pid):
        found = measure(port, pid, config)
    together, health_, kept = found["together"], found["together"]["health"], found["memory"]
    print(
        f"{config.ckpt}: first words after {1000 * found['first_token_alone']['median_s']:.0f} ms alone, "
        f"{1000 * together['first_token']['median_s']:.0f} ms beside {config.chats - 1} others\n"
        f"  {together['finished']} of {config.chats} chats at once finished, "
        f"{together['tokens_per_second']:.0f} tokens/s together; /health took {1000 * health_['median_s']:.1f} ms, "
        f"at most {1000 * health_['max_s']:.0f} ms"
    )
    if kept["base_bytes"] is not None:
        grown = (kept["after_stopped_bytes"] - kept["base_bytes"]) / 2**20
        print(f"  after {config.stopped} chats that were left the server holds {grown:+.1f} MiB")
    path = write_result(
        Path(config.out),
        name="server",
        figures={"load_average": load, "cores": os.cpu_count(), **found},
        command=" ".join(["python -m chat_ui.benchmark", *command_words(config)]),
        notes="Over HTTP on one machine, whose cores clients and server share. base: after the first round of all "
        "chats at once. p99 of few is their worst.",
    )
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
