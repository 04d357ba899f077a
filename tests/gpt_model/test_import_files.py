"""Foreign weights on disk: memory, precision, what is refused, and the messages when something is wrong."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from import_checks import LATENT, LLAMA, check_import_parity, llama2c_pair, tiny_reference
from safetensors.torch import load_file, save_file
from weight_checks import rewrite_weights

from gpt_model import GPT, preset
from gpt_model.huggingface import config_from_huggingface
from gpt_model.import_llama2c import read_pieces
from gpt_model.weight_files import PIECE_BYTES, SafetensorsFiles
from utils.errors import UserError

# In a process of its own: what it holds before one call, and the most it ever held after it.
MEASURE = """
import sys, torch
from gpt_model import GPT
from utils.timing import current_memory_bytes, peak_memory_bytes
torch.set_num_threads(1)
GPT.from_pretrained(sys.argv[1])  # whatever is imported and allocated once
before = current_memory_bytes()
model = GPT.from_pretrained(sys.argv[2])
own = sum(p.numel() * p.element_size() for p in model.parameters())
print(own, peak_memory_bytes() - before)
"""


def extra_memory(small: Path, large: Path, code: str = MEASURE) -> tuple[int, int]:
    """Bytes of the large model, and by how many bytes reading it raised the peak of a fresh process."""
    run = subprocess.run(
        [sys.executable, "-c", code, str(small), str(large)], capture_output=True, text=True, check=True
    )
    own, grown = map(int, run.stdout.split())
    return own, grown


@pytest.fixture(scope="module")
def large_llama(tmp_path_factory):
    """About 130 MB of Llama in float32, a third of it in one table, as safetensors, .bin and in our own layout."""
    from transformers import LlamaConfig, LlamaForCausalLM

    root = tmp_path_factory.mktemp("large")
    fields = {
        **LLAMA,
        "vocab_size": 20_000,
        "hidden_size": 512,
        "intermediate_size": 1400,
        "num_hidden_layers": 7,
    }
    config = LlamaConfig(**{**fields, "tie_word_embeddings": True})
    model = LlamaForCausalLM(config)
    model.save_pretrained(root / "safetensors")
    (root / "bin").mkdir()
    config.save_pretrained(root / "bin")
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    torch.save(state, root / "bin" / "pytorch_model.bin")
    del model, state
    GPT.from_pretrained(root / "safetensors").save_pretrained(root / "own")
    return root


@pytest.fixture(scope="module")
def small_llama(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    tiny_reference("llama-tied").save_pretrained(root / "hf")
    GPT.from_pretrained(root / "hf").save_pretrained(root / "own")
    return root


@pytest.mark.parametrize("kind", ["safetensors", "bin", "own"])
def test_reading_a_model_takes_at_most_a_fifth_more_than_the_model(kind, large_llama, small_llama):
    own, grown = extra_memory(small_llama / ("own" if kind == "own" else "hf"), large_llama / kind)
    assert own > 100e6
    assert grown >= 0.9 * own, f"{grown:,} bytes for a model of {own:,}: the measurement sees nothing"
    assert grown <= 1.2 * own, (
        f"reading {own:,} bytes raised the peak by {grown:,}, {grown / own:.2f} × the model"
    )


def test_the_measurement_sees_a_file_that_is_read_whole(large_llama, small_llama):
    """The control: the same call with all pieces kept open must break the bound."""
    whole = MEASURE.replace(
        "torch.set", "from gpt_model import weight_files; weight_files.PIECE_BYTES = 2**40\ntorch.set", 1
    )
    own, grown = extra_memory(small_llama / "hf", large_llama / "safetensors", whole)
    assert grown > 1.5 * own


def test_a_tensor_comes_in_pieces_that_cover_it(tmp_path):
    height = PIECE_BYTES // 4 // 1000 * 2 + 17
    table = torch.arange(height * 1000, dtype=torch.float32).view(height, 1000)
    save_file({"table": table, "scalar": torch.tensor(3.0)}, tmp_path / "a.safetensors")
    weights = SafetensorsFiles([tmp_path / "a.safetensors"], "a file")
    parts = [(start, stop, rows.clone()) for start, stop, rows in weights.pieces("table")]
    assert len(parts) == 3 and parts[0][0] == 0 and parts[-1][1] == height
    assert torch.equal(torch.cat([rows for _, _, rows in parts]), table)
    assert [rows.tolist() for _, _, rows in weights.pieces("scalar")] == [[3.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_a_model_is_held_in_the_precision_that_was_asked_for(dtype, small_llama):
    full = GPT.from_pretrained(small_llama / "hf")
    for kind in ("hf", "own"):
        model = GPT.from_pretrained(small_llama / kind, dtype=dtype)
        for name, tensor in model.state_dict().items():
            assert tensor.dtype == dtype and torch.equal(tensor, full.state_dict()[name].to(dtype)), name
        assert bool(torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all())


def test_files_in_half_precision_become_float32(small_llama, tmp_path):
    def half(tensors):
        return {name: tensor.bfloat16() for name, tensor in tensors.items()}

    folder = rewrite_weights(small_llama / "hf", tmp_path, half)
    model = GPT.from_pretrained(folder)
    wanted = load_file(folder / "model.safetensors")["model.embed_tokens.weight"].float()
    assert torch.equal(model.token_embedding.weight, wanted)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# Every key accounted for ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["llama", "qwen2", "deepseek-v3-bias", "mistral"])
def test_a_missing_a_surplus_and_a_misshapen_weight_are_called_by_the_files_names(case, tmp_path):
    tiny_reference(case).save_pretrained(tmp_path / "hf")
    names = sorted(load_file(tmp_path / "hf" / "model.safetensors"))
    for i, name in enumerate(names):
        kind = ("missing", "surplus", "misshapen")[i % 3]
        change = {
            "missing": lambda t, name=name: {k: v for k, v in t.items() if k != name},
            "surplus": lambda t, name=name: {**t, name + "_2": torch.zeros(3)},
            "misshapen": lambda t, name=name: {**t, name: torch.zeros(3, 5)},
        }[kind]
        folder = rewrite_weights(tmp_path / "hf", tmp_path / f"{i}", change)
        with pytest.raises(UserError) as caught:
            GPT.from_pretrained(folder)
        message = str(caught.value)
        assert name + ("_2" if kind == "surplus" else "") in message and "\n" not in message
        if kind == "misshapen":
            assert "(3, 5)" in message and "the config asks for" in message


def test_a_wrong_file_is_found_before_memory_is_taken(small_llama, tmp_path, monkeypatch):
    folder = rewrite_weights(small_llama / "hf", tmp_path, lambda t: {**t, "more": torch.zeros(3)})

    def never(*_args, **_more):
        raise AssertionError("the model was allocated although the file does not fit")

    monkeypatch.setattr("gpt_model.weights_io.empty_model", never)
    with pytest.raises(UserError, match="unexpected more"):
        GPT.from_pretrained(folder)


def test_an_untied_model_without_a_head_is_refused(tmp_path):
    tiny_reference("llama").save_pretrained(tmp_path / "hf")
    folder = rewrite_weights(
        tmp_path / "hf", tmp_path / "cut", lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"}
    )
    with pytest.raises(UserError, match=r"missing lm_head\.weight"):
        GPT.from_pretrained(folder)


def test_a_tied_model_saved_under_its_heads_name_is_read(tmp_path):
    reference = tiny_reference("llama-tied")
    reference.save_pretrained(tmp_path / "hf")

    def renamed(tensors):
        return {name.replace("model.embed_tokens", "lm_head"): tensor for name, tensor in tensors.items()}

    check_import_parity(reference, rewrite_weights(tmp_path / "hf", tmp_path / "head", renamed))


def test_the_speeds_that_old_files_carry_are_passed_over(tmp_path):
    reference = tiny_reference("llama")
    reference.save_pretrained(tmp_path / "hf")

    def with_speeds(tensors):
        extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(2)}
        return {**tensors, **extra}

    check_import_parity(reference, rewrite_weights(tmp_path / "hf", tmp_path / "old", with_speeds))


def test_the_extra_layer_of_deepseek_v3_is_passed_over_only_where_it_is_announced(tmp_path):
    reference = tiny_reference("deepseek-v3")
    reference.save_pretrained(tmp_path / "hf")

    def with_layer(tensors):
        more = {
            k.replace("layers.1.", "layers.2."): v.clone() for k, v in tensors.items() if "layers.1." in k
        }
        return {**tensors, **more}

    one = rewrite_weights(tmp_path / "hf", tmp_path / "one", with_layer, num_nextn_predict_layers=1)
    check_import_parity(reference, one)
    none = rewrite_weights(
        tmp_path / "hf", tmp_path / "none", with_layer, num_nextn_predict_layers=0, num_mtp_layers=0
    )
    with pytest.raises(UserError, match=r"unexpected model\.layers\.2"):
        GPT.from_pretrained(none)


def test_one_tensor_in_two_shards_is_named(small_llama, tmp_path):
    tensors = load_file(small_llama / "hf" / "model.safetensors")
    (tmp_path / "config.json").write_text((small_llama / "hf" / "config.json").read_text())
    for file in ("a", "b"):
        save_file(tensors, tmp_path / f"{file}.safetensors")
    weight_map = {"x": "a.safetensors", "y": "b.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UserError, match=r"is in a\.safetensors and in b\.safetensors"):
        GPT.from_pretrained(tmp_path)


def test_shards_of_bin_files_and_files_of_old_torch_are_read(small_llama, tmp_path):
    expected = GPT.from_pretrained(small_llama / "hf").state_dict()
    tensors = load_file(small_llama / "hf" / "model.safetensors")
    names = sorted(tensors)
    config = (small_llama / "hf" / "config.json").read_text()
    for folder in ("shards", "old"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(config)
    parts = {"p1.bin": names[::2], "p2.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: tensors[name] for name in part}, tmp_path / "shards" / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "shards" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    torch.save(tensors, tmp_path / "old" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    for folder in ("shards", "old"):
        got = GPT.from_pretrained(tmp_path / folder).state_dict()
        assert all(torch.equal(got[name], expected[name]) for name in expected)


# What would compute something else is refused by name --------------------------------------------------

LLAMA_FIELDS = {"model_type": "llama", **LLAMA}
LATENT_FIELDS = {"model_type": "deepseek_v3", **LATENT}
REFUSED = [
    ({**LLAMA_FIELDS, "head_dim": 16}, "head_dim is 16"),
    ({**LLAMA_FIELDS, "hidden_act": "relu"}, "hidden_act"),
    ({**LLAMA_FIELDS, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
    ({**LLAMA_FIELDS, "rope_scaling": {"type": "linear"}}, "no factor"),
    (
        {**LLAMA_FIELDS, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor",
    ),
    ({**LLAMA_FIELDS, "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({**LLAMA_FIELDS, "rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "from layer to layer"),
    ({**LLAMA_FIELDS, "rope_scaling": {"type": "linear", "factor": 2.0, "swirl": 3}}, "swirl"),
    ({**LLAMA_FIELDS, "rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": False}}, "truncate"),
    ({k: v for k, v in LLAMA_FIELDS.items() if k != "hidden_size"}, "no hidden_size"),
    (
        {
            **{**LLAMA_FIELDS, "model_type": "mistral", "sliding_window": 4},
            "layer_types": ["full_attention", "sliding_attention"],
        },
        "layer_types",
    ),
    ({**LATENT_FIELDS, "first_k_dense_replace": 1}, "mixtures of experts"),
    ({**LATENT_FIELDS, "v_head_dim": 16}, "v_head_dim is 16"),
    ({**LATENT_FIELDS, "qk_nope_head_dim": 4}, "qk_nope_head_dim is 4"),
    ({**LLAMA_FIELDS, "model_type": "mixtral"}, "model_type is 'mixtral'"),
]


@pytest.mark.parametrize(("values", "word"), REFUSED, ids=[word for _, word in REFUSED])
def test_a_config_that_cannot_be_expressed_is_refused_by_name(values, word):
    with pytest.raises(UserError, match=word) as caught:
        config_from_huggingface(values)
    assert "\n" not in str(caught.value)


# llama2.c -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda data: data[:-4], "its header asks for"),
        (lambda data: data + b"\0\0\0\0", "its header asks for"),
        (lambda data: data[:20], "no sizes of a model"),
        (lambda data: struct.pack("<i", 0x616B3432) + data[4:], "later version"),
        (lambda data: b"GGUF" * 10 + data, "no sizes of a model"),
        (lambda data: data[:12] + struct.pack("<i", 5) + data[16:], "no sizes of a model"),
    ],
    ids=["cut", "longer", "stub", "version 1", "foreign", "heads do not divide"],
)
def test_a_damaged_or_foreign_llama2c_file_is_one_line(change, word, tmp_path):
    llama2c_pair(tmp_path / "good.bin", tied=True)
    (tmp_path / "bad.bin").write_bytes(change((tmp_path / "good.bin").read_bytes()))
    with pytest.raises(UserError, match=word) as caught:
        GPT.from_pretrained(tmp_path / "bad.bin")
    assert "bad.bin" in str(caught.value) and "\n" not in str(caught.value)


def test_the_pieces_of_llama2cs_tokenizer_and_a_damaged_file(tmp_path):
    words = [(0.0, b"<unk>"), (0.0, b"<0x0A>"), (-1.5, " caf\u00e9".encode()), (-2.0, b"<0xZZ")]
    data = struct.pack("<i", 7) + b"".join(struct.pack("<fi", score, len(w)) + w for score, w in words)
    (tmp_path / "tok.bin").write_bytes(data)
    assert read_pieces(tmp_path / "tok.bin") == [words[0], (0.0, b"\n"), words[2], words[3]]
    (tmp_path / "cut.bin").write_bytes(data[:-2])
    with pytest.raises(UserError, match=r"cut\.bin is damaged"):
        read_pieces(tmp_path / "cut.bin")


# Our own presets --------------------------------------------------------------------------------------


def test_separate_biases_change_which_biases_there_are():
    def biased(**fields):
        names = [
            n for n, _ in GPT(preset("debug", n_layer=1, **fields)).named_parameters() if n.endswith("bias")
        ]
        return {part for part in ("qkv_proj", "attn.out_proj", "mlp", "norm") for n in names if part in n}

    assert biased() == {"qkv_proj", "attn.out_proj", "mlp", "norm"}
    assert biased(bias=False, qkv_bias=True) == {"qkv_proj"}
    assert biased(bias=False, attn_out_bias=True) == {"attn.out_proj"}
    assert biased(mlp_bias=False, qkv_bias=False) == {"attn.out_proj", "norm"}
    for name, value in (
        ("qkv_bias", "yes"),
        ("rope_low_turns", 0.0),
        ("rope_attention_factor", float("nan")),
    ):
        with pytest.raises(UserError, match=name):
            preset("debug", **{name: value})
