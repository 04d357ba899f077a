"""Classic mistakes of recipes and of data on its way to training, put back on purpose: each must break its law."""

from pathlib import Path

import numpy as np
import pytest
import recipe_checks as laws

from pretraining import shard_data, streaming_data
from utils import config as config_module
from utils import schema
from working_with_text_data import prefetch, shards

CONFIG = Path(__file__).parents[2] / "pretraining" / "configs" / "cpu-debug.yaml"


def must_fail(check, *arguments):
    with pytest.raises(AssertionError):
        check(*arguments)


@pytest.fixture
def text(tmp_path):
    return laws.small_texts(tmp_path / "text")


# ---------------------------------------------------------------- LP12


@pytest.mark.parametrize(
    "mistake",
    [
        "batchsize: 8",
        "lr: fast",
        "model: {n_layers: 2}",
        "name: laptop",
        "optimizer: adam",
        "schedule: cosinus",
    ],
)
def test_a_wrong_line_in_a_shipped_config_is_caught(mistake, text, tmp_path):
    key = mistake.split(":")[0]
    kept = [line for line in CONFIG.read_text().splitlines() if not line.startswith(f"{key}:")]
    path = tmp_path / "cpu-debug.yaml"
    path.write_text("\n".join([*kept, mistake]))
    try:
        laws.check_config_runs(path, text, tmp_path / "runs")
    except Exception:  # the loader's or the model's own error is as good: the file cannot be shipped
        return
    raise AssertionError(f"{mistake} was shipped")


def test_a_config_without_a_length_is_caught(text, tmp_path):
    path = tmp_path / "cpu-debug.yaml"
    path.write_text(
        "\n".join(line for line in CONFIG.read_text().splitlines() if not line.startswith("steps"))
    )
    must_fail(laws.check_config_runs, path, text, tmp_path / "runs")


def test_a_loader_that_drops_what_it_does_not_know_is_caught(monkeypatch):
    honest = schema.build

    def build(cls, tree, prefix):
        known = {field.name for field, _ in schema.settable_fields(cls)}
        return honest(cls, {key: value for key, value in tree.items() if key in known}, prefix)

    monkeypatch.setattr(config_module, "build", build)
    must_fail(laws.check_bad_values_are_named, CONFIG)


# ---------------------------------------------------------------- data


def test_a_byte_order_that_is_not_the_files_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(shard_data, "open_shards", _as_read(lambda ids: ids[::-1]))
    must_fail(laws.check_shards_train_like_memory, tmp_path)


def test_an_edge_between_shards_that_drops_an_id_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(
        shard_data, "open_shards", _as_read(lambda ids: np.delete(ids, 699) if len(ids) > 700 else ids)
    )
    must_fail(laws.check_shards_train_like_memory, tmp_path)


def _as_read(change):
    def open_shards(*arguments, **kinds):
        return change(shards.open_shards(*arguments, **kinds)[:])

    return open_shards


def test_a_place_that_runs_ahead_with_the_prefetcher_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(prefetch.Prefetcher, "state_dict", lambda self: self.loader.state_dict())
    must_fail(laws.check_resume_is_exact, tmp_path, "streaming=true", "stream_val_tokens=200")


def test_a_stream_that_begins_again_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(streaming_data.OneSide, "load_state_dict", lambda self, state: None)
    must_fail(
        laws.check_resume_is_exact, tmp_path, "streaming=true", "stream_val_tokens=200", "buffer_windows=7"
    )


def test_a_stream_without_a_split_is_caught(monkeypatch, tmp_path):
    honest = streaming_data.OneSide.__iter__

    def everything(self):
        return iter(self.source) if self.side == "train" else honest(self)

    monkeypatch.setattr(streaming_data.OneSide, "__iter__", everything)
    must_fail(laws.check_stream_sides_are_disjoint, tmp_path)


def test_shards_opened_without_a_look_at_their_tokenizer_are_caught(monkeypatch, tmp_path):
    def open_shards(folder, split, *, tokenizer_sha256=None):
        return shards.open_shards(folder, split)

    monkeypatch.setattr(shard_data, "open_shards", open_shards)
    must_fail(laws.check_other_vocabulary_is_refused, tmp_path)


def test_one_place_for_all_ranks_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(streaming_data.PerRank, "state_dict", lambda self: self.loader.state_dict())
    monkeypatch.setattr(
        streaming_data.PerRank, "load_state_dict", lambda self, state: self.loader.load_state_dict(state)
    )
    must_fail(laws.check_ranks_of_a_stream_go_on_exactly, tmp_path)


def test_ranks_that_read_the_same_documents_are_caught(monkeypatch, tmp_path):
    honest = streaming_data.StreamingLoader

    def loader(*arguments, rank, world_size, **kinds):
        return honest(*arguments, **kinds)

    monkeypatch.setattr(streaming_data, "StreamingLoader", loader)
    must_fail(laws.check_ranks_of_a_stream_go_on_exactly, tmp_path)
