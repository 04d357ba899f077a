"""D5: a folder that runs without torch and without this book, compared with the model it came from."""

import json
import subprocess
import sys

import numpy as np
import pytest

from deployment import export as edge
from deployment.edge_run import choose
from deployment.export import export_edge, main
from gpt_model.loading import load_model
from utils.cli import run_main
from utils.errors import RunFailure


@pytest.fixture(scope="module")
def book():
    return load_model("assets")


@pytest.fixture(scope="module")
def made(book, tmp_path_factory):
    return export_edge(book, tmp_path_factory.mktemp("edge") / "fp32", precision="fp32", capacity=96)


def test_in_full_precision_it_writes_what_the_model_writes(made):
    assert made.same == made.of >= 30 and made.loss == pytest.approx(made.exact_loss, abs=1e-4)


def test_in_int8_it_is_smaller_and_nearly_as_good(book, made, tmp_path):
    small = export_edge(book, tmp_path / "int8", capacity=96)
    assert small.bytes < 0.55 * made.bytes, f"{small.bytes:,} bytes of {made.bytes:,}"
    assert abs(small.loss - small.exact_loss) < 0.1 and small.same >= 1


def test_the_folder_runs_by_itself_and_holds_no_torch(made):
    block = "import sys; sys.modules['torch'] = None; sys.argv[:] = sys.argv[1:]; import runpy; "
    code = block + "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = ["Once upon a time", "--tokens", "8", "--temperature", "0"]
    run = [sys.executable, "-c", code, str(made.folder / "run.py"), *words]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Once upon a time") and len(done.stdout) > 20, (
        done.stderr
    )
    files = {path.name for path in made.folder.rglob("*.py")}
    assert {"run.py", "tokenizer.py", "bpe_tokenizer.py"} <= files and "gpt.py" not in files
    names = [line.partition("==")[0] for line in (made.folder / "requirements.txt").read_text().splitlines()]
    assert names == ["numpy", "onnxruntime", "regex"]


def test_a_prompt_that_does_not_fit_is_one_line(made):
    room = json.loads((made.folder / "step.json").read_text())["capacity"] - 1
    run = [sys.executable, str(made.folder / "run.py")]
    done = subprocess.run([*run, "x " * 400], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: the prompt has"), done.stderr
    assert f"1 to {room} fit" in done.stderr and done.stderr.count("\n") == 1
    empty = subprocess.run([*run, "", "--tokens", "3"], capture_output=True, text=True)
    assert empty.returncode == 0, f"the mark that begins every text is a beginning: {empty.stderr}"


def test_temperature_zero_is_the_best_and_top_k_keeps_k():
    logits = np.array([0.0, 3.0, 2.0, -1.0], dtype=np.float32)
    rng = np.random.default_rng(0)
    assert choose(logits, 0.0, 50, rng) == 1
    assert {choose(logits, 5.0, 2, rng) for _ in range(100)} == {1, 2}


def test_a_folder_that_needs_what_a_small_machine_has_not_is_not_kept(book, tmp_path, monkeypatch):
    monkeypatch.setattr(edge, "tokenizer_modules", lambda file: [])
    with pytest.raises(RunFailure, match="nothing was kept"):
        export_edge(book, tmp_path / "x", precision="fp32", capacity=64)
    assert not (tmp_path / "x").exists() and not list(tmp_path.iterdir())


def test_bad_input_is_one_line(tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for words, says in (
        (["precision=int4"], "choose one of int8, fp32"),
        (["ckpt=nowhere"], "nowhere"),
        ([f"out={tmp_path / 'full'}"], "is not empty"),
        (["prcision=int8"], "precision"),
    ):
        assert run_main(main, words) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1, said
    assert (tmp_path / "full" / "file").read_text() == "mine"
