"""`finetuning.evaluation.compare`: one report, whole and safe to open, and one line where it cannot be made."""

import json
from html.parser import HTMLParser

import pytest

from finetuning.evaluation import compare, compare_page, sources
from finetuning.evaluation.instructions import accepts, judge
from finetuning.evaluation.resampling import over_seeds, pairs_needed, requests_needed, student_t
from finetuning.instruction.data import held_out_requests
from utils.errors import UserError
from working_with_text_data.storyland.tasks import KINDS, Instruction

HOSTILE = '<script>alert("x")</script> | `a` [link](http://x)'


def scores(good=20, requests=34):
    asked = held_out_requests(requests, seed=5)
    right = [r.answer for r in asked]
    return {
        "base": judge(asked, [""] * len(asked)),
        "prompted": judge(asked, right[:3] + [HOSTILE] * (len(asked) - 3)),
        "tuned": judge(asked, right[:good] + ["no"] * (len(asked) - good)),
    }


def figures(**changes):
    found = scores()
    return {
        "base": "runs/a",
        "tuned": "runs/b",
        "questions": "storyland",
        "asked": 34,
        "shots": 3,
        **compare.score_figures(found),
        "forgetting": {"not_measured": "no text"},
        "contamination": {"tuning": {"not_measured": "nobody said"}},
        "samples": compare.side_by_side(found, 17),
        **changes,
    }


def test_the_arms_are_counted_and_compared_in_pairs():
    found = compare.score_figures(scores(good=20))
    assert found["arms"]["tuned"]["overall"]["hits"] == 20
    gap = found["over"]["base"]["difference"]
    assert gap["value"] == pytest.approx(20 / 34) and gap["low"] > 0
    assert found["over"]["prompted"]["win_rate"]["wins"] == 17
    assert set(found["over"]["base"]["by_kind"]) == set(KINDS)
    json.dumps(found, allow_nan=False)


def test_each_kind_is_shown_once_before_any_twice():
    rows = compare.side_by_side(scores(), 17)
    assert {row["kind"] for row in rows} == set(KINDS)
    assert set(rows[0]["answers"]) == {"base", "prompted", "tuned"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.found, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_whole_has_no_address_and_takes_answers_as_text():
    page = compare_page.html_page(figures(), "python -m x")
    tags = Tags()
    tags.feed(page)
    assert not tags.open and not tags.addresses and "script" not in tags.found
    assert "&lt;script&gt;" in page and "not measured" in page
    assert tags.found.count("circle") == 3 + 3 * (len(KINDS) + 1), (
        "a point for each arm, of each kind and of all"
    )


def test_the_markdown_has_a_row_for_each_kind_and_takes_answers_as_text():
    text = compare_page.markdown(figures())
    assert all(f"| {kind} |" in text for kind in KINDS)
    assert "<script>" not in text.replace("\\<script\\>", "")


def test_the_summary_says_what_was_measured_and_what_was_not():
    forgot = {"text": "stories", "tokens": 1000, "perplexity_before": 2.0, "perplexity_after": 3.0}
    shared = {"n": 8, "held_out": 34, "training_texts": 9, "exact": 1, "shared": 2}
    lines = compare_page.summary_lines(
        figures(
            forgetting={**forgot, "bits_ratio": 1.5},
            contamination={"tuning": {**shared, "clean": {"hits": 3, "total": 32}}},
        )
    )
    assert any("2.00 before, 3.00 after" in line for line in lines)
    assert any("1 of 34 word for word" in line and "3 of the 32" in line for line in lines)


def test_a_file_of_questions_is_judged_by_its_own_answers(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text('{"prompt": "Capital of France?", "response": "Paris"}\n', encoding="utf-8")
    (question,) = sources.load_questions(str(path), 5, seed=0)
    assert accepts(question, " paris. ") and not accepts(question, "Rome") and not accepts(question, "")
    path.write_text('{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, '
                    '{"role": "assistant", "content": "b"}]}\n', encoding="utf-8")  # fmt: skip
    with pytest.raises(UserError, match=r"line 1.*3 messages"):
        sources.load_questions(str(path), 5, seed=0)


def test_a_storyland_kind_is_judged_by_its_verifier_whatever_the_answer_says():
    request = Instruction("count", "Count the things: kite, drum.", "wrong on purpose")
    assert accepts(request, "2") and not accepts(request, "wrong on purpose")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "base is not given"),
        (["base=assets", "requests=0"], "the least is 1"),
        (["base=assets", "val_tokens=0"], "val_tokens"),
        (["base=nowhere", "tuned=assets"], "nowhere"),
        (["base=assets", "shots=-1"], "the least is 0"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, says, tmp_path):
    with pytest.raises(UserError, match=says) as error:
        compare.main([*words, f"out={tmp_path / 'x'}"])
    assert "\n" not in str(error.value)


def test_how_many_requests_an_interval_takes():
    from finetuning.evaluation.intervals import wilson_interval

    for half in (0.1, 0.05, 0.03):
        n = requests_needed(half)
        low, high = wilson_interval(n // 2, n)
        assert (high - low) / 2 <= half + 1e-4
        assert requests_needed(half, share=0.95) < n, "a share near 1 is known sooner"
    with pytest.raises(ValueError, match="half_width"):
        requests_needed(0.6)
    assert pairs_needed(0.05, 0.1) < pairs_needed(0.05, 0.4) < pairs_needed(0.025, 0.4)
    with pytest.raises(ValueError, match="cannot be the larger"):
        pairs_needed(0.3, 0.2)


def test_seeds_and_students_factor():
    assert over_seeds([0.5]).to_dict()["low"] is None, "one run has no interval, and JSON no infinity"
    with pytest.raises(ValueError, match="no value"):
        over_seeds([])
    assert student_t(2) == pytest.approx(4.3027) and student_t(30) == pytest.approx(2.0423, abs=1e-3)
    with pytest.raises(ValueError, match="at least two"):
        student_t(0)


@pytest.mark.slow
def test_the_command_compares_two_checkpoints_and_writes_three_files(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("Mia found a kite in the park. " * 60, encoding="utf-8")
    out = tmp_path / "report"
    words = ["base=assets", "tuned=assets", "requests=17", "shots=1", "samples=3", "val_tokens=200"]
    assert compare.main([*words, f"text={text}", f"out={out}"]) == 0
    said = capsys.readouterr().out
    assert "win rate" in said and "wrote" in said
    result = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    found = result["figures"]
    assert found["over"]["base"]["win_rate"]["ties"] == 17, "a model against itself, asked alike, ties always"
    assert found["forgetting"]["bits_ratio"] == 1.0
    assert found["contamination"]["tuning"]["exact"] == 0, "what is held out was not trained on"
    assert result["command"].startswith("python -m finetuning.evaluation.compare base=assets tuned=assets")
    assert {path.name for path in out.iterdir()} == {"comparison.json", "comparison.md", "comparison.html"}


def _run(folder, stage, config, model=None, pairs=None):
    weights = folder / "checkpoints" / "step_000001" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    inputs = {} if model is None else {"model": {"path": str(model)}}
    record = {"id": folder.name, "stage": stage, "status": "complete", "start": "2026-01-01T00:00:00Z"}
    record |= {"config": config, "inputs": inputs}
    (folder / "run.json").write_text(json.dumps(record))
    if pairs is not None:
        (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return weights


def test_a_model_is_followed_back_to_its_pretraining(tmp_path):
    first = _run(tmp_path / "a", "pretrain", {"data": "storyland", "val_fraction": 0.05})
    second = _run(tmp_path / "b", "sft", {"requests": 30, "data_seed": 4, "data": "storyland"}, first)
    pairs = [
        {"split": split, "prompt": [{"role": "user", "content": words}], "chosen": "a", "rejected": "b"}
        for split, words in (("train", "Which?"), ("judged", "Never trained on?"))
    ]
    third = _run(tmp_path / "c", "dpo", {"pairs": 1}, second, pairs)
    assert [folder.name for folder, _ in sources.lineage(third.parent)] == ["c", "b", "a"]
    prompts = list(sources.tuning_prompts(third.parent))
    assert prompts[0] == "Which?" and len(prompts) == 31, "the pairs, and the requests before them"
    with pytest.raises(UserError, match="does not say which requests"):
        sources.tuning_prompts(first.parent)


def test_a_model_of_unknown_origin_has_no_pretraining_text(tmp_path):
    lost = _run(tmp_path / "b", "sft", {"requests": 30}, tmp_path / "gone" / "model.safetensors")
    with pytest.raises(UserError, match="text=FILE"):
        sources.pretraining_split(lost.parent)


def test_every_request_that_a_command_taught_is_known(tmp_path, tiny_gpt, chat_tokenizer):
    """Lessons have requests of their own seeds; of a file, what judged was not taught."""
    from finetuning.instruction import train
    from finetuning.instruction.train_config import InstructionConfig
    from utils.config import load_config
    from utils.runs import list_runs

    base = tiny_gpt.save_pretrained(tmp_path / "base")
    chat_tokenizer.save(base / "tokenizer.json")
    talks = tmp_path / "talks.jsonl"
    rows = [{"prompt": f"Say the number {n}.", "response": f"{n}"} for n in range(60)]
    talks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = [f"ckpt={base}", "batch_size=2", "eval_every=0", "held_out=2", "device=cpu"]
    for words in (["requests=30", "lessons=[recall:1,colour:1]"], [f"data={talks}", "val_fraction=0.3"]):
        root = tmp_path / words[0].partition("=")[0]
        assert train.main([*small, *words, "steps=1", f"runs={root}", "--quiet"]) == 0
        config = load_config(InstructionConfig, None, [*small, *words])
        loaded, _ = train.open_model(config)
        taught, *_ = train.load_examples(config, loaded)
        lessons = [own for own, _ in train.make_lessons(config, loaded)][1:]
        asked = {_first_words(chat_tokenizer, ids) for own in (taught, *lessons) for ids, _ in own}
        (run,) = list_runs(stage="sft", root=root)
        found = set(sources.tuning_prompts(run.path / "checkpoints" / "last"))
        assert found == asked, "what is called taught is what was taught"


def _first_words(tokenizer, ids):
    said = tokenizer.decode(ids).removeprefix("<|user|>")
    return said[: said.index("<|endoftext|>")]


@pytest.mark.parametrize("asked", [None, "plain"])
def test_each_model_is_asked_in_its_own_template(tmp_path, tiny_gpt, chat_tokenizer, monkeypatch, asked):
    """A run that was tuned in another form answers in that form; asked otherwise it looks as if it knew nothing."""
    folder = tmp_path / "runs" / "sft" / "one" / "checkpoints" / "step_000001"
    tiny_gpt.save_pretrained(folder)
    chat_tokenizer.save(folder / "tokenizer.json")
    (folder.parents[1] / "run.json").write_text(json.dumps({"config": {"template": "chatml"}}))
    templates = []
    from finetuning.evaluation import instructions

    exact = instructions.exact_match
    monkeypatch.setattr(
        instructions,
        "exact_match",
        lambda *a, template: templates.append(template) or exact(*a, template=template),
    )
    words = {} if asked is None else {"template": asked}
    compare.compare_runs(
        compare.CompareConfig(
            base="assets", tuned=str(folder), requests=2, shots=0, text=None, val_tokens=200, **words
        )
    )
    assert templates == ["scratchbook", asked or "chatml"]
