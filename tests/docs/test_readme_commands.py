"""LD1: every command in a README runs, on small settings, in an empty directory.

A command without a rule here fails the test: a README may not promise what nothing runs.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

from utils.readme import readmes

ROOT = Path(__file__).resolve().parents[2]
TINY_MODEL = ["model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=64", "vocab_size=300"]
TINY_DEMO = [
    *TINY_MODEL,
    "minutes=0.03",
    "stories=2",
    "held_out=17",
    "tune_requests=60",
    "train.sample_seconds=0",
]
TINY_TRAIN = [*TINY_MODEL, "steps=2", "minutes=null", "max_documents=60", "eval_every=0", "sample_seconds=0"]
TINY_DPO = ["steps=2", "pairs=16", "held_out=4", "asked=2", "drawn=1", "batch_size=4"]
TINY_SWEEP = [*TINY_MODEL, "minutes=null", "max_documents=60", "prompts=[]"]

# What is added to a command so that it takes seconds. The last word given for a key wins.
SMALL = {
    r"scratchbook demo": TINY_DEMO,
    r"(scratchbook|python -m pretraining\.)\s?train .*--resume": ["steps=3"],
    r"python -m pretraining\.train .*--fork": ["steps=2", "minutes=null"],
    r"python -m pretraining\.import_pth": [],
    r"torchrun .*pretraining\.train": TINY_TRAIN,
    r"python -m pretraining\.sweep .*halving": [*TINY_SWEEP, "steps=4"],
    r"python -m pretraining\.sweep": [*TINY_SWEEP, "steps=2", "seed=0"],
    r"python -m pretraining\.pipeline": [
        *("text.max_documents=60", "text.clean=false", "vocab_size=300", "training.minutes=null"),
        *("training.steps=2", "training.model.n_layer=1", "training.model.n_embd=32"),
        *("training.model.n_head=2", "training.model.block_size=64", "sampling.max_new_tokens=5"),
        "evaluation.max_tokens=200",
    ],
    r"python -m pretraining\.benchmark_memory": [
        *("preset=debug", "rounds=1", "batch_size=2", "device=cpu", "out=memory.json"),
    ],
    r"python -m pretraining\.benchmark_distributed": [
        *("preset=debug", "batch_size=4", "steps=1", "rounds=1", "out=distributed.json"),
    ],
    r"python -m pretraining\.scale_sheet": ["out=SCALE.md"],
    r"python -m pretraining\.speedrun_board": [],
    r"(scratchbook|python -m pretraining\.)\s?train( |$)": TINY_TRAIN,
    r"(scratchbook|python -m gpt_model\.)\s?sample .*--ckpt": ["--max-new-tokens", "5"],
    r"python -m finetuning\.demo\.benchmark": ["skip"],
    r"python -m pretraining\.(benchmark|speedrun|scaling_study)": ["--help"],
    r"python -m pretraining\.prepare_gutenberg": ["min_characters=100"],
    r"python -m pretraining\.train_simple": [
        *("n_layer=1", "n_head=2", "n_embd=16", "block_size=32", "vocab_size=300", "steps=2"),
    ],
    r"python -m pretraining\.prepare_smollm": ["tokens=2000", "tokenizer=byte", "val_fraction=0.5"],
    r"python -m pretraining\.results_table": ["out=reference.json"],
    r"python -m working_with_text_data\.benchmark_loader": [
        "tokens=100000",
        "batches=2",
        "rounds=1",
        "out=loader.json",
    ],
    r"python -m working_with_text_data\.benchmark_plot": ["--help"],
    r"python -m working_with_text_data\.benchmark\b": [
        "inputs=[storyland:60000]",
        "vocab_sizes=[300]",
        "rounds=1",
        "readable_input=storyland:60000",
        "readable_vocab_size=300",
        "ranks=null",
        "out=bpe.json",
    ],
    r"python -m attention_mechanisms\.costs|python -m gpt_model\.look": [],
    r"python -m attention_mechanisms\.benchmark( |$)": [
        *(
            "rounds=1",
            "contexts=[9,40]",
            "window=8",
            "n_head=4",
            "head_dim=8",
            "n_kv_head=2",
            "kv_latent_dim=6",
        ),
        *("rope_dim=4", "max_table=40", "train_shape=[1,2,20,8]", "flex=false", "out=kernels.json"),
    ],
    r"python -m gpt_model\.benchmark_attention": [
        *(
            "n_layer=1",
            "n_head=2",
            "n_embd=16",
            "vocab_size=20",
            "contexts=[8,24]",
            "n_kv_head=1",
            "window=4",
        ),
        *("kv_latent_dim=6", "rope_dim=2", "rounds=1", "out=attention_decode.json"),
    ],
    r"python -m pretraining\.race( |$)": [
        *("seeds=[0]", "steps=2", "batch_size=2", "max_documents=60", "vocab_size=270", "model.n_layer=1"),
        *("model.n_embd=64", "model.block_size=32", "rounds=1", "out=race.json"),
    ],
    r"python -m pretraining\.induction": [
        "n_head=2",
        "n_embd=16",
        "steps=2",
        "batch_size=2",
        "measure_every=1",
    ],
    r"python -m gpt_model\.benchmark( |$)": [
        *("preset=debug", "parts=[batch1]", "modes=[fp32]", "peers=[]", "compile=false"),
        *("prompt=4", "new=4", "rounds=1", "out=decode.json"),
    ],
    r"python -m gpt_model\.benchmark_engine": [
        *(
            "models=[debug]",
            "requests=3",
            "prompt=[2,6]",
            "new=[2,4]",
            "probes=2",
            "rounds=1",
            "out=engine.json",
        ),
    ],
    r"python -m gpt_model\.speculative": [
        *(
            "documents=30",
            "prompts=2",
            "prompt_tokens=6",
            "new=10",
            "rounds=1",
            "draft_tokens=[2]",
            "out=s.json",
        ),
    ],
    r"(scratchbook |python -m gpt_model\.)export": [],
    r"python -m gpt_model\.(analyze|lens|gpt(_gqa|_mla|_swa)?)( |$)": [],
    r"scratchbook bench": ["--help"],
    r"scratchbook doctor|python -m gpt_model\.(doctor|costs|sample --help)": [],
    r"python -m deployment\.jobs": [
        *TINY_MODEL,
        "steps=2",
        "minutes=null",
        "max_documents=60",
        "eval_every=0",
    ],
    r"python -m deployment\.export": ["capacity=64"],
    r"python edge/run\.py": ["--tokens", "5"],
    r"python -m finetuning\.evaluation\.compare": [
        *("base=assets", "tuned=assets", "requests=17", "shots=1", "samples=3", "val_tokens=200"),
        *("text=my_book.txt", "out=compared"),
    ],
    r"python -m finetuning\.instruction\.conversations": [],
    r"python -m finetuning\.instruction\.train --resume": ["steps=3"],
    r"python -m finetuning\.instruction\.train .*data=": [
        *("steps=2", "epochs=null", "held_out=2", "batch_size=2"),
    ],
    r"python -m finetuning\.instruction\.train": ["steps=2", "requests=40", "held_out=2", "batch_size=2"],
    r"python -m finetuning\.instruction\.respond": ["max_new_tokens=4"],
    r"python -m finetuning\.classification\.baseline": ["reviews=900", "seeds=[0]", "rounds=20"],
    r"python -m finetuning\.classification\.train": ["reviews=60", "epochs=1", "max_tokens=64", "--quiet"],
    r"python -m finetuning\.classification\.predict": [],
    r"python -m finetuning\.preference\.dpo": TINY_DPO,
    r"python -m finetuning\.instruction\.(benchmark_packing|benchmark_lessons)": ["--help"],
    r"python -m finetuning\.(classification|preference)\.benchmark": ["--help"],
    r"python -m finetuning\.benchmark": ["--help"],
    r"python -m pretraining\.evaluate": ["max_tokens=200"],
    r"python -m pretraining\.plot_curves": [],
    r"python -m working_with_text_data\.benchmark_(cleaning|pipeline)": ["--help"],
    r"python -m working_with_text_data\.|scratchbook tokenizer": [],
    r"python -m utils\.(readme|notebooks)": ["--help"],
    r"scratchbook --(help|version)|scratchbook check": [],
}


def commands() -> list[tuple[str, str]]:
    """(README's folder, command) for every line of every shell block; comments are cut off."""
    found = []
    for path in readmes(ROOT):
        if path.name != "README.md":
            continue
        for block in re.findall(r"^```(?:sh|bash)?\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                command = re.split(r"\s+#\s", line)[0].strip()
                if re.match(
                    r"(scratchbook|make|python3?|torchrun|pip|uv|CHAINLIT\S+ chainlit|chainlit|jupyter)\b",
                    command,
                ):
                    found.append((path.parent.name if path.parent != ROOT else "README", command))
    return list(dict.fromkeys(found))


COMMANDS = commands()


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory):
    """A directory with nothing but the person's own book and model, and a run that `last` means."""
    folder = tmp_path_factory.mktemp("reader")
    from pth_checks import check_nanogpt

    from working_with_text_data.storyland import story_corpus

    chats = [{"prompt": f"What is {n} and one?", "response": f"It is {n + 1}."} for n in range(40)]
    (folder / "my_chats.jsonl").write_text("\n".join(map(json.dumps, chats)))
    (folder / "prompts.jsonl").write_text(
        "\n".join(json.dumps({"prompt": each["prompt"]}) for each in chats[:2])
    )
    (folder / "my_book.txt").write_text("\n\n".join(story_corpus(n_stories=60, seed=5)))
    check_nanogpt(folder)  # ckpt.pt
    run(folder, ["scratchbook", "train", *TINY_TRAIN])
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "SCRATCHBOOK_RUNS": str(folder / "runs"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


def run(folder: Path, words: list[str], **options) -> subprocess.CompletedProcess:
    program = {
        "scratchbook": ["-m", "scratchbook"],
        "python": [],
        "torchrun": ["-m", "torch.distributed.run"],
    }.get(words[0])
    full = [sys.executable, *program, *words[1:]] if program is not None else words
    done = subprocess.run(
        full, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=400, **options
    )
    assert done.returncode == 0, (
        f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-800:]}\n{done.stderr[-1500:]}"
    )
    return done


@pytest.mark.slow
@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{w}: {c}"[:90] for w, c in COMMANDS])
def test_the_command_runs(where, command, empty_folder):
    if command.startswith("make "):
        check_make(command)
    elif command.startswith(("pip ", "uv ", "python3 -m venv")):
        check_install(command, empty_folder)
    elif command.startswith("python -m pytest"):
        target = command.split()[3]
        run(ROOT, ["python", "-m", "pytest", target, "--collect-only", "-q"])
    elif re.match(r"scratchbook (chat|serve)|CHAINLIT\S+ chainlit|chainlit", command):
        check_chat(command, empty_folder)
    elif command.startswith("jupyter"):
        notebook = command.split()[-1]
        assert (ROOT / notebook).exists() or notebook == "lab", f"{notebook} is not there to be opened"
    else:
        check_plain(command, empty_folder)


def check_plain(command: str, folder: Path) -> None:
    rule = next((extra for pattern, extra in SMALL.items() if re.match(pattern, command)), None)
    assert rule is not None, f"no rule in SMALL says how to run {command!r} small: add one"
    if rule == ["skip"]:  # it is the demo again; its own module tests it on one tiny walk
        assert (ROOT / "tests/finetuning/test_demo_benchmark.py").exists()
        return
    words = [
        w.replace("pretraining/configs", str(ROOT / "pretraining/configs")).replace(
            "finetuning/recipes", str(ROOT / "finetuning/recipes")
        )
        for w in shlex.split(command)
    ]
    if "--help" in rule:
        words = words[: 3 if words[0] == "python" else 2]
    run(folder, [*words, *rule])


def check_make(command: str) -> None:
    """What make would do, without doing it: the target exists and calls what it says."""
    _, target, *variables = shlex.split(command)
    done = subprocess.run(["make", "-n", target, *variables], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = {
        "demo": "scratchbook demo",
        "chat": "scratchbook chat",
        "test": "-m pytest",
        "doctor": "scratchbook doctor",
    }
    words = expected.get(
        target,
        {"test-fast": "-m pytest", "notebooks": "utils.notebooks", "bench": "scratchbook bench"}.get(
            target, ""
        ),
    )
    assert words in done.stdout


def check_install(command: str, folder: Path) -> None:
    """The pins are proved in test_install; here, that the documented line uses them and names real extras."""
    if command.startswith("python3 -m venv"):
        subprocess.run(
            ["sh", "-c", command.replace("venv .venv", "venv --without-pip .venv")], cwd=folder, check=True
        )
        return
    if "--index-url" in command:
        return
    assert "-c constraints.txt" in command
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r"\[(.*)\]", command).group(1).split(",")) <= set(extras)


def check_chat(command: str, folder: Path) -> None:
    """The server comes up, answers on its port, and ends when told to."""
    words = shlex.split(command)
    if words[0] != "scratchbook":
        assert (ROOT / "chat_ui" / "app.py").exists()
        return
    if "--ckpt" in words and words[words.index("--ckpt") + 1] not in ("assets", "last", "best"):
        words[words.index("--ckpt") + 1] = "last"
    port = 8500 + os.getpid() % 400
    log = (folder / "chat.log").open("w+")
    quietly = ["--headless"] if words[1] == "chat" else []
    server = subprocess.Popen(
        [sys.executable, "-m", "scratchbook", *words[1:], *quietly, "--port", str(port)],
        cwd=folder, env=environment(folder), stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for _ in range(240):
            assert server.poll() is None, f"the chat ended: {Path(log.name).read_text()[-800:]}"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                    assert page.status == 200 and b"Scratchbook" in page.read()
                    break
            except OSError:
                time.sleep(0.25)
        else:
            raise AssertionError(f"no answer within a minute: {Path(log.name).read_text()[-800:]}")
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_every_make_target_of_the_readme_exists():
    text = (ROOT / "Makefile").read_text()
    wanted = ("demo", "chat", "test", "test-fast", "test-cov", "lint", "format", "type-check", "notebooks")
    wanted += ("bench", "clean")
    missing = [t for t in wanted if not re.search(rf"^{t}:", text, re.MULTILINE)]
    assert not missing, f"Makefile lacks {missing}"
