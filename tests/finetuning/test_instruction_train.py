"""The command of instruction tuning: one's own file, templates, what learns, and going on to the last bit."""

from __future__ import annotations

import json

import pytest
import torch

from finetuning.instruction import benchmark_packing, train
from finetuning.templates import template_of
from gpt_model.loading import load_model
from utils.errors import UserError
from utils.runs import list_runs

SMALL = ["batch_size=2", "optimizer=adamw", "lr=1e-3", "eval_every=0", "log_every=1", "--quiet", "device=cpu"]


@pytest.fixture
def base(tiny_gpt, chat_tokenizer, tmp_path):
    folder = tiny_gpt.save_pretrained(tmp_path / "base")
    chat_tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.fixture
def talks(tmp_path):
    path = tmp_path / "talks.jsonl"
    rows = [{"prompt": f"Say the number {n}.", "response": f"{n}"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    return path


def run_with(tmp_path, base, *words):
    code = train.main([f"ckpt={base}", f"runs={tmp_path / 'runs'}", *SMALL, *words])
    return code, list_runs(stage="sft", root=tmp_path / "runs")[0]


def losses(run):
    return [(m["step"], m["loss"]) for m in run.metrics() if m.get("split") == "train"]


def weights(run):
    return load_model(run.path).model.state_dict()


def test_ones_own_conversations_in_another_template(tmp_path, base, talks, capsys):
    code, run = run_with(tmp_path, base, f"data={talks}", "template=alpaca", "epochs=1", "held_out=4")
    assert code == 0 and run.status == "complete"
    facts = run.meta["inputs"]["conversations"]
    assert (facts["form"], facts["duplicates"], facts["kept"]) == ("prompt", 1, 40)
    result = run.meta["result"]
    assert result["well_formed_after"]["total"] == result["exact_before"]["total"] <= 4
    said = capsys.readouterr().out
    assert "1 duplicates" in said and "exact answers after" in said and "next: scratchbook chat" in said
    assert template_of(load_model(run.path).path) == "alpaca"


def test_every_way_of_learning_changes_only_what_it_names(tmp_path, base):
    before = load_model(base).model.state_dict()
    for way, expected in (("head", {"token_embedding.weight"}), ("last-1", None)):
        _, run = run_with(tmp_path, base, f"tune={way}", "steps=1", "requests=30", "held_out=0")
        after = weights(run)
        changed = {name for name, old in before.items() if not torch.equal(old, after[name])}
        assert changed and (expected is None or changed == expected)
        if way == "last-1":
            assert all(name.startswith(("blocks.0.", "final_norm.")) for name in changed)
        assert run.meta["trainable"]["numbers"] < run.meta["trainable"]["of"]


@pytest.mark.parametrize(
    "words",
    [["tune=lora", "lora.r=2"], ["tune=lora", "lora.r=2", "qlora=true"], []],
    ids=["lora", "qlora", "all"],
)
def test_a_stopped_run_goes_on_to_the_last_bit(tmp_path, base, words, capsys):
    settings = ["requests=40", "held_out=0", "steps=6", "schedule=constant", "warmup=0", *words]
    _, whole = run_with(tmp_path / "a", base, *settings)
    _, part = run_with(tmp_path / "b", base, *settings, "steps=3")
    code = train.main(["--resume", str(part.path), "steps=6", "--quiet"])
    resumed = list_runs(stage="sft", root=tmp_path / "b" / "runs")[0]
    assert code == 0 and resumed.id == part.id and resumed.meta["config"]["steps"] == 6
    assert losses(resumed)[-3:] == losses(whole)[-3:], (
        "the steps after a resume are those of a run without a pause"
    )
    ours, theirs = weights(resumed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    checkpoint = resumed.path / resumed.meta["outputs"]["checkpoint"]["path"]
    assert (checkpoint / "adapter.json").is_file() == bool(words)
    assert "numbers learned" in capsys.readouterr().out


def test_a_resume_with_other_conversations_is_refused(tmp_path, base, talks):
    _, run = run_with(tmp_path, base, f"data={talks}", "steps=2", "held_out=0")
    talks.write_text(talks.read_text().replace("number 7", "number seven"))
    with pytest.raises(UserError, match="began with other examples"):
        train.main(["--resume", str(run.path), "steps=3", "--quiet"])
    (tmp_path / "x.yaml").write_text("steps: 3\n")
    with pytest.raises(UserError, match="leave --config out"):
        train.main(["--resume", str(run.path), "--config", str(tmp_path / "x.yaml"), "--quiet"])


def test_packed_and_padded_give_every_example_once_an_epoch(tmp_path, base, talks):
    steps = {}
    for packing in ("true", "false"):
        _, run = run_with(tmp_path, base, f"data={talks}", f"packing={packing}", "epochs=1", "held_out=0")
        steps[packing] = run.meta["result"]["step"]
    kept = run.meta["inputs"]["conversations"]["examples"]["whole"]
    assert steps["false"] == -(-kept // 2) and steps["true"] < steps["false"] / 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["template=poem"], "template is 'poem': choose one of alpaca"),
        (["loss_on=questions"], "loss_on is 'questions'"),
        (["qlora=true"], "set tune=lora"),
        (["tune=last-9"], "the model has 1 blocks"),
        (["data=nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["held_out=-1"], "held_out is -1"),
        (["val_fraction=1.0"], "val_fraction is 1.0"),
        (["tune=lora", "lora.targets=[nothing]"], "lora target 'nothing'"),
        (["on_overlap=shout"], "on_overlap is 'shout'"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, base, words, says):
    with pytest.raises(UserError, match=says) as caught:
        run_with(tmp_path, base, "steps=1", "requests=20", *words)
    assert "\n" not in str(caught.value)


def test_bad_lines_and_overlap_stop_or_are_counted(tmp_path, base, talks):
    talks.write_text(talks.read_text() + '{"prompt": "x"}\n')
    held_out = tmp_path / "judge.jsonl"
    held_out.write_text('{"prompt": "say the number 3.", "response": "3"}\n')
    words = [f"data={talks}", f"held_out_file={held_out}", "steps=1"]
    with pytest.raises(UserError, match="line 42: `response` is missing"):
        run_with(tmp_path, base, *words)
    with pytest.raises(UserError, match="1 of 1 held-out requests are trained on"):
        run_with(tmp_path, base, *words, "on_bad_line=skip")
    _, run = run_with(tmp_path, base, *words, "on_bad_line=skip", "on_overlap=drop")
    facts = run.meta["inputs"]["conversations"]
    assert (facts["bad"], facts["overlap"], facts["examples"]["whole"]) == (1, 1, 39)


def test_questions_that_fill_the_context_leave_nothing_to_learn(tmp_path, base):
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n} " * 300, "response": "x"}) + "\n" for n in range(30)))
    with pytest.raises(UserError, match="context of 128 tokens"):
        run_with(tmp_path, base, f"data={path}", "steps=1")


def test_a_model_that_looks_across_rows_is_padded_or_refused(chat_tokenizer, tmp_path):
    from gpt_model import GPT, GPTConfig

    shape = {"block_size": 64, "n_layer": 1, "n_head": 2, "n_embd": 16, "ngram_rows": [31]}
    folder = GPT(GPTConfig(vocab_size=chat_tokenizer.vocab_size, **shape)).save_pretrained(tmp_path / "m")
    chat_tokenizer.save(folder / "tokenizer.json")
    with pytest.raises(UserError, match="n-gram embeddings, which look across"):
        run_with(tmp_path, folder, "steps=1", "requests=20", "held_out=0", "packing=true")
    assert run_with(tmp_path, folder, "steps=1", "requests=20", "held_out=0")[0] == 0


def test_the_packing_benchmark_writes_what_it_measured(tmp_path, capsys):
    out = tmp_path / "packing.json"
    words = [
        "requests=120",
        "stories=12",
        "vocab_size=400",
        "steps=1",
        "rounds=1",
        "batch_size=2",
        "preset=tiny",
    ]
    assert benchmark_packing.main([*words, f"out={out}"]) == 0
    figures = benchmark_packing.measured(out)
    ways = figures["ways"]
    assert set(ways) == set(benchmark_packing.WAYS)
    assert ways["packed"]["full"] > ways["padded"]["full"], "packed rows have fewer holes"
    assert ways["packed"]["tokens"] == ways["in_one"]["tokens"]
    assert 0.5 < ways["padded"]["tokens"] / ways["packed"]["tokens"] < 2, "steps should teach about as much"
    assert "goal: packed at least 2 × padded; reached:" in capsys.readouterr().out
    assert benchmark_packing.measured(tmp_path / "none.json") is None
    with pytest.raises(UserError, match="rounds is 0"):
        benchmark_packing.main(["rounds=0"])


def test_questions_are_asked_on_the_way(tmp_path, base):
    words = ["requests=40", "steps=4", "eval_every=2", "held_out=6", "asked_on_the_way=3"]
    _, run = run_with(tmp_path, base, *words)
    rows = [row for row in run.metrics() if row["split"] == "asked"]
    assert [row["step"] for row in rows] == [2, 4], "once at each evaluation"
    assert all(row["exact"]["total"] == row["well_formed"]["total"] == 3 for row in rows)
    again = run_with(tmp_path, base, *words[:-1], "asked_on_the_way=0")[1]
    assert not [row for row in again.metrics() if row["split"] == "asked"]
    one, two = weights(run), weights(again)
    assert all(torch.equal(one[name], two[name]) for name in one), "being asked teaches nothing"


def test_what_judges_storyland_is_held_out(tmp_path, base):
    """By the hash of its words: the loss on requests that are trained on would fall whatever is learned."""
    from finetuning.instruction.data import held_out_requests
    from finetuning.instruction.train_config import InstructionConfig

    config = InstructionConfig(ckpt=str(base), requests=3000, held_out=34)
    loaded, _ = train.open_model(config)
    taught, judged, questions, _ = train.load_examples(config, loaded)

    def prompts(examples):
        tokenizer, said = loaded.tokenizer, []
        for ids, mask in examples:
            said.append(tokenizer.decode(ids[: mask.index(True)]))
        return said

    assert len(taught) == 3000 and len(questions) == 34
    assert len(judged) == len(set(prompts(judged))) == train.JUDGED
    assert not set(prompts(judged)) & set(prompts(taught))
    wanted = {request.prompt for request in held_out_requests(train.JUDGED, seed=0)}
    assert all(any(words in said for words in wanted) for said in prompts(judged))
