"""The table of reference runs, and curves of several runs in one plot."""

import json
import struct

import pytest
import recipe_checks

from pretraining import plot_curves, recipe, results_table
from pretraining.pretrain_config import PretrainConfig
from utils.cli import run_main
from utils.config import load_config
from utils.runs import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    text = recipe_checks.small_texts(folder / "text")
    base = [*recipe_checks.TINY, "steps=4", f"data={text}", f"runs={folder / 'runs'}"]
    made = [
        recipe.train(load_config(PretrainConfig, None, [*base, f"seed={s}", "name=tiny"])) for s in (1, 1, 2)
    ]
    Run.create("pretrain", {}, root=folder / "runs")  # one that is still running
    return folder / "runs", made


def test_a_row_says_what_the_run_recorded(runs):
    root, made = runs
    rows = results_table.rows_of([], str(root))
    assert [row["run"] for row in rows] == [run.id for run in made], "oldest first, complete ones only"
    row, result = rows[0], made[0].meta["result"]
    assert (row["steps"], row["tokens"], row["loss"]) == (4, result["tokens"], result["val"]["loss"])
    assert row["tokens_per_second"] == result["tokens"] / result["seconds"]
    from gpt_model import load_model

    assert row["parameters"] == load_model(made[0].path).model.num_parameters()
    assert rows[0]["config_hash"] == rows[1]["config_hash"] != rows[2]["config_hash"]
    assert row["gpu_hours"] is None and "cores" in row["hardware"]


def test_the_hash_is_of_what_was_trained_not_of_where():
    base = {"lr": 1e-3, "data": "storyland", "model": {"n_layer": 2}}
    same = [
        {**base, "runs": "x"},
        {**base, "track": ["wandb"]},
        {"model": {"n_layer": 2}, "data": "storyland", "lr": 1e-3},
    ]
    assert {results_table.config_hash(c) for c in same} == {results_table.config_hash(base)}
    for other in ({**base, "lr": 2e-3}, {**base, "model": {"n_layer": 3}}, {**base, "seed": 1}):
        assert results_table.config_hash(other) != results_table.config_hash(base)


def test_the_command_writes_a_result_that_a_readme_can_show(runs, tmp_path, capsys):
    root, _ = runs
    out = tmp_path / "reference.json"
    assert run_main(results_table.main, ["last", "--runs", str(root), f"out={out}"]) in (0, 2)
    assert run_main(results_table.main, ["--runs", str(root), f"out={out}"]) == 0
    saved = json.loads(out.read_text())
    assert len(saved["figures"]["rows"]) == 3 and saved["command"] == "python -m pretraining.results_table"
    from utils.readme import fill

    block = "<!-- numbers reference.json\n{figures.table}\n-->\n<!-- /numbers -->"
    shown = fill(block, tmp_path)
    assert shown.count("| tiny |") == 3 and "tokens/s" in shown
    assert capsys.readouterr().out.count("wrote") >= 1


def test_what_is_not_known_is_not_measured(runs, tmp_path):
    row = results_table.rows_of([], str(runs[0]))[0]
    line = results_table.table([{**row, "parameters": None, "bits_per_byte": None}]).splitlines()[-1]
    assert line.count("not measured") == 2
    (tmp_path / "torn.safetensors").write_bytes(struct.pack("<Q", 9999) + b"{")
    assert results_table.parameters_in(tmp_path / "torn.safetensors") is None


def test_a_run_that_has_not_ended_is_refused(runs, tmp_path, capsys):
    running = Run.create("pretrain", {}, root=tmp_path)
    assert run_main(results_table.main, [running.id, "--runs", str(tmp_path)]) == 2
    assert "is running, not complete" in capsys.readouterr().err
    assert run_main(results_table.main, ["--runs", str(tmp_path / "none")]) == 2
    assert "no complete run" in capsys.readouterr().err


# ---------------------------------------------------------------- curves


def test_several_runs_share_each_plot_against_steps_tokens_or_seconds(runs, tmp_path, capsys):
    root, made = runs
    names = [run.id for run in made[:2]] + [str(made[2].path / "metrics.csv")]
    assert run_main(plot_curves.main, [*names, "--runs", str(root), "--out", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.glob("*.png")} == {"train_loss.png", "val_loss.png", "val_ppl.png"}
    curves = {name: plot_curves.read_curves(name, root=root) for name in names}
    figure = plot_curves.draw(plot_curves.PLOTS[0], curves)
    assert len(figure.axes[0].lines) == 3 and figure.axes[0].get_legend() is not None
    by_tokens = plot_curves.read_curves(names[0], root=root, x="tokens")
    assert list(by_tokens["train"].values()) == list(curves[names[0]]["train"].values())
    assert max(by_tokens["train"]) == made[0].meta["result"]["tokens"] == max(by_tokens["val"])
    assert (
        run_main(plot_curves.main, [names[0], "--x", "seconds", "--runs", str(root), "--out", str(tmp_path)])
        == 0
    )
    assert run_main(plot_curves.main, [names[2], "--x", "seconds", "--out", str(tmp_path)]) == 2
    assert "only --x step" in capsys.readouterr().err


def test_the_final_evaluation_of_everything_is_no_point_of_a_curve_of_slices(tmp_path):
    rows = [
        {"step": 5, "split": "val", "loss": 2.0},
        {"step": 9, "split": "val", "loss": 1.9, "whole": False},
    ]
    rows.append({"step": 9, "split": "val", "loss": 2.4, "whole": True})
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert plot_curves.read_curves(path) == {"val": {5: 2.0, 9: 1.9}}
    path.write_text(json.dumps(rows[-1]) + "\n")
    assert plot_curves.read_curves(path) == {"val": {9: 2.4}}, "where it is the only one, it is the curve"
