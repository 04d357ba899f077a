"""The commands of classification: train, predict, baseline, benchmark, as a person types them."""

import json

import numpy as np
import pytest

from finetuning.classification import baseline, benchmark, predict, train
from finetuning.classification.bag_of_words import grams, vocabulary_of
from finetuning.classification.data import DataConfig, load_class_data
from utils.cli import run_main
from utils.errors import UserError


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A tiny pretrained model with a tokenizer."""
    import torch

    from gpt_model import GPT, GPTConfig
    from working_with_text_data.byte_tokenizer import ByteTokenizer

    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    shape = {"vocab_size": 260, "block_size": 96, "n_layer": 2, "n_head": 2, "n_embd": 16, "position": "rope"}
    GPT(GPTConfig(**shape)).save_pretrained(folder)
    ByteTokenizer().save(folder / "tokenizer.json")
    return folder


def small(start, runs, *more):
    usual = [f"ckpt={start}", f"runs={runs}", "reviews=60", "epochs=1", "batch_size=8", "device=cpu"]
    return [*usual, *more]


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert train.main([*small(start, runs), "--quiet"]) == 0
    return runs


def test_train_says_what_came_out_and_what_comes_next(start, tmp_path, capsys):
    assert train.main([*small(start, tmp_path, "tune=lora", "lora.r=2"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "accuracy" in said and "negative" in said and "finetuning.classification.predict" in said
    run = next((tmp_path / "classify").iterdir())
    meta = json.loads((run / "run.json").read_text())
    assert meta["status"] == "complete" and meta["result"]["trainable"] < 0.5 * meta["result"]["parameters"]
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(meta["result"]["test"]["accuracy"])
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4) for row in rows)


def test_predict_labels_a_text_a_list_and_a_table(trained, tmp_path, capsys):
    assert predict.main([f"runs={trained}", "text=I love it."]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["predicted"] in ("negative", "positive") and "label" not in row
    (tmp_path / "new.txt").write_text("I love it.\n\nI hate it.\n")
    assert (
        predict.main([f"runs={trained}", f"file={tmp_path / 'new.txt'}", f"out={tmp_path / 'o.jsonl'}"]) == 0
    )
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [r["text"].strip() for r in rows] == ["I love it.", "I hate it."]
    assert rows[0]["probabilities"] == pytest.approx(row["probabilities"], abs=1e-5), "alone or in a batch"
    capsys.readouterr()
    (tmp_path / "new.csv").write_text("text,label\nI love it.,positive\n")
    assert predict.main([f"runs={trained}", f"file={tmp_path / 'new.csv'}"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_a_merged_adapter_predicts_what_the_run_had_judged(start, tmp_path):
    from finetuning.classification.model import Classifier
    from pretraining.checkpoints import find_checkpoint
    from utils.runs import find_run

    train.main([*small(start, tmp_path, "tune=lora", "lora.r=2", "lr=0.05"), "--quiet"])
    folder, _ = find_checkpoint(find_run("last", root=tmp_path), "best")
    merged, tokenizer = predict.load_classifier("last", root=tmp_path)
    apart = Classifier.load(folder)
    texts = ["I love it.", "The box was torn, but I would buy it again."]
    one, other = (predict.classify(m, tokenizer, texts).numpy() for m in (merged, apart))
    assert np.abs(one - other).max() < 1e-5


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_a_stopped_run_goes_on_to_the_same_end(start, tmp_path, tune, capsys):
    from pretraining.callbacks import Callback
    from utils.config import load_config
    from utils.runs import find_run

    class Stop(Callback):
        def on_step_end(self, trainer, record):
            if record["step"] == 5:
                trainer.stop.request("a person")

    words = [*small(start, tmp_path / "a", f"tune={tune}", "epochs=2", "dtype=fp32", "head_dropout=0.1")]
    run = train.train_classifier(load_config(train.ClassifyConfig, None, words), callbacks=[Stop()])
    assert run.status == "stopped" and "test" not in run.meta["result"]
    assert train.main(["--resume", str(run.path), "--quiet"]) == 0
    again = find_run(run.path).meta["result"]
    whole = train.train_classifier(
        load_config(train.ClassifyConfig, None, [*words, f"runs={tmp_path / 'b'}"])
    ).meta["result"]
    assert again["test"] == whole["test"] and again["best_val_loss"] == whole["best_val_loss"]


def test_a_run_does_not_go_on_with_other_texts(trained):
    with pytest.raises(UserError, match="other texts"):
        train.main(["--resume", "last", f"runs={trained}", "reviews=80", "--quiet"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data=nowhere.csv"], "no such file"),
        (["pool=first"], "choose last or mean"),
        (["tune=most"], "choose all, last-N"),
        (["tune=last-9"], "has 2 blocks"),
        (["keep=middle"], "choose start, end, ends"),
        (["max_tokens=500"], "block_size, which is 96"),
        (["class_weights=1,2,3"], "give 2 numbers"),
        (["class_weights=heavy"], "choose none, balanced"),
        (["patience=-1"], "patience is -1"),
        (["val_fraction=0"], "val_fraction is 0"),
        (["on_overlap=hide"], "choose drop, stop or keep"),
        (["lora.r=0", "tune=lora"], "lora"),
        (["tokenizer=gpt2x"], "gpt2x"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_one_line_before_a_run_begins(start, tmp_path, capsys, words, says):
    code = run_main(lambda argv=None: train.main([*small(start, tmp_path), *words, "--quiet"]))
    said = capsys.readouterr().err
    assert code == 2 and says in said and said.count("\n") == 1, said
    assert not (tmp_path / "classify").exists(), "a run folder was left behind"


def test_another_kind_of_model_is_refused(start):
    with pytest.raises(UserError, match="no classifier"):
        predict.load_classifier(start)


def test_a_classifier_is_no_language_model(trained):
    from gpt_model.loading import load_model

    with pytest.raises(UserError, match="scratchbook-classifier"):
        load_model("last", root=trained)


def test_an_empty_text_is_refused(trained):
    model, tokenizer = predict.load_classifier("last", root=trained)
    with pytest.raises(UserError, match="text 2 is empty"):
        predict.classify(model, tokenizer, ["a", " "])
    with pytest.raises(UserError, match="one of them"):
        predict.PredictConfig()


def test_baselines_in_one_table(tmp_path, capsys):
    words = ["data=storyland", "reviews=900", "seeds=[0]", "rounds=50", f"out={tmp_path / 'b.json'}"]
    assert baseline.main(words) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in baseline.NAMES)
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert rows["majority"]["accuracy"]["value"] <= 0.6 < rows["tfidf"]["accuracy"]["value"]


def test_the_bag_knows_pairs_and_forgets_order():
    data = load_class_data(DataConfig(reviews=200))
    vocabulary = vocabulary_of([each.text for each in data.train])
    assert "not" in vocabulary and any(" " in gram for gram in vocabulary)
    assert min(vocabulary.values()) == 1, "0 is for what is unknown"
    assert grams("A b, c") == ["a", "b", "c", "a b", "b c"]


def test_the_benchmark_goes_on_where_it_stopped(start, tmp_path, capsys):
    out = tmp_path / "c.json"
    words = [f"ckpt={start}", "sets=[storyland]", "tunes=[head,all]", "seeds=[0,1]", "reviews=60", "epochs=1"]
    words += ["batch_size=8", "rounds=20", "threads=1", "baselines=[majority,tfidf]", f"out={out}"]
    assert benchmark.main([*words, "at_most=1"]) == 0
    first = json.loads(out.read_text())["figures"]
    assert list(first["sets"]["storyland"]["ours"]["head"]) == ["0"]
    assert benchmark.main(words) == 0
    figures = json.loads(out.read_text())["figures"]
    ours = figures["sets"]["storyland"]["ours"]
    assert ours["head"]["0"] == first["sets"]["storyland"]["ours"]["head"]["0"], "made twice"
    assert {tune: sorted(rows) for tune, rows in ours.items()} == {"head": ["0", "1"], "all": ["0", "1"]}
    row = figures["summary"]["storyland"]["all"]
    right = [benchmark.unpacked(r["predicted"]) for r in ours["all"].values()]
    truth = benchmark.unpacked(figures["sets"]["storyland"]["truth"])
    assert row["accuracy"]["value"] == pytest.approx(np.mean([np.mean(np.array(r) == truth) for r in right]))
    assert row["accuracy_over_tfidf"]["low"] <= row["accuracy_over_tfidf"]["value"]
    said = capsys.readouterr().out
    assert "goal: beat TF-IDF" in said and any(word in said for word in ("reached", "not decided"))
    assert "goal" in benchmark.measured(out) and "not measured" in benchmark.measured(tmp_path / "none.json")
    with pytest.raises(UserError, match="reviews differ"):
        benchmark.main([*words, "reviews=80"])


def test_real_texts_are_read_as_published(shared_data):
    folder = shared_data / "classify"
    sms = load_class_data(DataConfig(data=str(folder / "SMSSpamCollection")))
    counts = [sum(sms.report["counts"][part].values()) for part in ("train", "val", "test")]
    assert sms.labels == ("ham", "spam") and sum(counts) == 5574
    imdb = load_class_data(
        DataConfig(
            data=str(folder / "imdb_train_6000.jsonl.gz"),
            test=str(folder / "imdb_test_2000.jsonl.gz"),
            take=500,
        )
    )
    assert imdb.labels == ("neg", "pos") and imdb.report["counts"]["test"] == {"neg": 1000, "pos": 1000}


def test_tfidf_knows_spam(shared_data):
    sms = load_class_data(
        DataConfig(data=str(shared_data / "classify" / "SMSSpamCollection"), take=1500, take_test=400)
    )
    row = baseline.measure(sms, "tfidf", [0], rounds=20)
    assert row["macro_f1"]["value"] > 0.9


def test_the_official_layout_of_imdb_keeps_its_split_and_leaves_out_what_has_no_label(tmp_path):
    for split in ("train", "test"):
        for label in ("pos", "neg", "unsup"):
            folder = tmp_path / "aclImdb" / split / label
            folder.mkdir(parents=True)
            for i in range(20):
                (folder / f"{i}_{9 if label == 'pos' else 2}.txt").write_text(f"{split} {label} {i}<br />")
        (tmp_path / "aclImdb" / split / "urls_pos.txt").write_text("http://…")
    data = load_class_data(DataConfig(data=str(tmp_path / "aclImdb")))
    assert data.labels == ("neg", "pos") and data.name == "aclImdb"
    assert {each.text.split()[0] for each in data.test} == {"test"} and len(data.test) == 40
    assert {each.text.split()[0] for each in data.train + data.val} == {"train"} and len(data.val) == 4


def test_weights_of_transformers_begin_a_classifier(tmp_path):
    """What `ckpt=gpt2 tokenizer=gpt2` does, with a tiny GPT-2 of random weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from utils.config import load_config
    from working_with_text_data.byte_tokenizer import ByteTokenizer

    torch.manual_seed(0)
    tiny = GPT2Config(vocab_size=260, n_positions=96, n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(tiny).save_pretrained(tmp_path / "gpt2")
    ByteTokenizer().save(tmp_path / "bytes.json")
    assert benchmark._block_size(str(tmp_path / "gpt2")) == 96
    words = small(tmp_path / "gpt2", tmp_path, "tune=head", "max_tokens=64")
    with pytest.raises(UserError, match="tokenizer=gpt2"):
        train.train_classifier(load_config(train.ClassifyConfig, None, words))
    words.append(f"tokenizer={tmp_path / 'bytes.json'}")
    run = train.train_classifier(load_config(train.ClassifyConfig, None, words))
    assert run.meta["result"]["trainable"] == 2 * 16 + 2
