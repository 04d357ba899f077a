"""Heads taken away, head by head: means, losses, what is restored, what is refused; and the command that looks."""

import json

import pytest
import torch
from analysis_checks import read_page, tiny

from attention_mechanisms import ATTENTIONS, analysis
from gpt_model import GPT, GPTConfig
from gpt_model import look as command
from gpt_model.loading import load_model
from gpt_model.trace import ablate_heads, attention_maps, head_means, loss_without_each_head
from utils.errors import UserError


def ids_of(shape=(2, 9)):
    return torch.randint(30, shape, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_mean_ablation_replaces_a_head_by_its_mean_output(attention):
    model, ids = tiny(attention), ids_of()
    inputs = []
    hook = model.blocks[1].attn.out_proj.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    with torch.no_grad():
        model(ids)
        hook.remove()
        means = head_means(model, ids)
        usual = inputs[0].reshape(-1, 4, 4).mean(0)
        torch.testing.assert_close(means[1], usual)
        hook = model.blocks[1].attn.out_proj.register_forward_hook(lambda _, x, y: inputs.append(x[0]))
        with ablate_heads(model, [(1, 2)], means=means):
            model(ids)
        hook.remove()
    ablated, whole = inputs[1].unflatten(-1, (4, 4)), inputs[0].unflatten(-1, (4, 4))
    torch.testing.assert_close(ablated[..., 2, :], usual[2].expand(2, 9, 4))
    assert torch.equal(ablated[..., [0, 1, 3], :], whole[..., [0, 1, 3], :])


def test_ablation_holds_while_decoding_with_a_cache():
    model, ids = tiny(), ids_of()
    with torch.no_grad(), ablate_heads(model, {(0, 1), (1, 3)}):
        whole = model(ids).logits
        cache = model.new_cache(2)
        pieces = [model(ids[:, i : i + 3], cache=cache).logits for i in (0, 3, 6)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)


def test_no_hook_is_left_even_after_an_error():
    model = tiny()
    with pytest.raises(RuntimeError, match="stop"), ablate_heads(model, [(0, 0)]):
        raise RuntimeError("stop")
    head_means(model, ids_of())
    assert not any(block.attn.out_proj._forward_pre_hooks for block in model.blocks)


def test_losses_are_those_of_the_ablated_models():
    model, ids = tiny().train(), ids_of()
    changes = loss_without_each_head(model, ids)
    assert model.training and changes.shape == (2, 4)
    model.eval()
    with torch.no_grad():
        logp = model(ids[:, :-1]).logits.log_softmax(-1)
        whole = -logp.gather(-1, ids[:, 1:, None]).mean()
        model.blocks[1].attn.out_proj.weight[:, 4:8] = 0.0  # head 1 of layer 1
        logp = model(ids[:, :-1]).logits.log_softmax(-1)
        without = -logp.gather(-1, ids[:, 1:, None]).mean()
    assert changes[1, 1].item() == pytest.approx((without - whole).item(), abs=1e-5)


@pytest.mark.parametrize("heads", [[(2, 0)], [(0, 4)], [(-1, 0)]])
def test_heads_that_are_not_there_are_refused(heads):
    with pytest.raises(UserError, match="layers are 0 to 1, heads 0 to 3"), ablate_heads(tiny(), heads):
        pass


def test_other_bad_input_is_refused():
    with pytest.raises(UserError, match="head_means"), ablate_heads(tiny(), [], means=torch.zeros(2, 4, 3)):
        pass
    with pytest.raises(UserError, match="one text"):
        attention_maps(tiny(), ids_of((2, 4)))
    with pytest.raises(UserError, match="no next one"):
        loss_without_each_head(tiny(), ids_of((1, 1)))


# --- a model with an induction head, built by hand ----------------------------------------------------


def induction_model(vocab: int = 12, block: int = 24) -> GPT:
    """Two layers of one head: the first copies the token before, the second looks for it (Olsson et al. 2022).

    The residual stream is [position | token | token before], each one-hot.
    """
    width = block + 2 * vocab
    model = GPT(
        GPTConfig(
            vocab_size=vocab, block_size=block, n_layer=2, n_head=1, n_embd=width, norm="rmsnorm", bias=False
        )
    ).eval()
    place, token, before = (slice(0, block), slice(block, block + vocab), slice(block + vocab, width))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.zero_()
        model.token_embedding.weight[:, token] = torch.eye(vocab)
        model.position_embedding.weight[:, place] = torch.eye(block)
        sharp = 30.0
        for layer, (asks, answers) in enumerate(((place, place), (token, before))):
            attn = model.blocks[layer].attn
            query, key, value = attn.qkv_proj.weight.split(width)
            query[: asks.stop - asks.start, asks] = sharp * torch.eye(asks.stop - asks.start)
            key[: asks.stop - asks.start, answers] = torch.eye(answers.stop - answers.start)
            if layer == 0:
                query[:block, place] = sharp * torch.diag(torch.ones(block - 1), 1)  # place p asks for p - 1
                value[:vocab, token] = torch.eye(vocab)
                attn.out_proj.weight[before, :vocab] = torch.eye(vocab)
    return model


@pytest.mark.parametrize("length", [7, 11])
def test_an_induction_head_is_found_and_needs_the_head_before_it(length):
    model = induction_model()
    ids = analysis.repeated_tokens(12, length, 2, seed=length)
    tokens = ids[0].tolist()
    first, second = analysis.summarise(attention_maps(model, ids), tokens)
    assert (first.pattern, second.pattern) == ("previous token", "induction")
    assert first.previous == pytest.approx(1, abs=1e-6)
    # The first token has none before it and copies itself, so its second copy divides its look between two places.
    assert second.induction == pytest.approx(1 - 0.5 / length, abs=1e-6)
    with ablate_heads(model, [(0, 0)]):
        alone = analysis.summarise(attention_maps(model, ids), tokens)[1]
    assert alone.induction < 0.2 and alone.pattern == "broad", (
        "without the copied token there is nothing to match"
    )


# --- on the model that comes with the book, and the command ------------------------------------------

STORY = "Once upon a time there was a fox named Tim. Tim had a red lantern."


def test_the_storyteller_has_a_head_that_looks_at_the_token_before():
    loaded = load_model("assets")
    ids = torch.tensor([loaded.tokenizer.encode_ordinary(STORY)])
    heads = analysis.summarise(attention_maps(loaded.model, ids), ids[0].tolist())
    assert "previous token" in {head.pattern for head in heads}
    assert all(0 <= head.spread <= 1 and head.entropy >= 0 for head in heads)


def test_the_command_writes_the_page_of_the_models_own_maps(tmp_path, capsys):
    out = tmp_path / "maps.html"
    assert command.main([STORY, "ckpt=assets", f"out={out}", "layers=[1,3]", "device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed and "scratchbook sample" in printed
    data, shown = read_page(out.read_text(encoding="utf-8"))
    loaded = load_model("assets")
    ids = [loaded.tokenizer.special_tokens["<|endoftext|>"], *loaded.tokenizer.encode_ordinary(STORY)]
    assert data["numbers"] == [1, 3] and "".join(data["tokens"][1:]) == STORY
    maps = attention_maps(loaded.model, torch.tensor([ids]))[[1, 3]].double()
    assert (shown - maps).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["", "ckpt=assets"], "empty"),
        ([STORY, "ckpt=assets", "layers=[4]"], "0 to 3"),
        (["word " * 400, "ckpt=assets"], "block_size"),
        ([STORY, "ckpt=assets", "max_bytes=1000"], "max_bytes"),
    ],
)
def test_the_command_refuses_what_it_cannot_show(words, message, tmp_path):
    with pytest.raises(UserError, match=message):
        command.main([*words, f"out={tmp_path / 'x.html'}", "device=cpu"])
    assert not list(tmp_path.iterdir())


def test_windows_and_shared_key_heads_reach_the_page(tmp_path):
    model = tiny("swa", window=4, n_kv_head=2, global_every=2, attention_sinks=1)
    loaded = load_model("assets")
    small = type(loaded)(model, FewWords(), tmp_path, model.config)
    data = json.loads(json.dumps(read_page(command.look(small, "abcdefghij").page)[0]))
    assert (data["windows"], data["sinks"], data["kv"]) == ([4, None], 1, 2)


class FewWords:
    """A tokenizer of letters, enough for a tiny model."""

    special_tokens: dict[str, int] = {}  # noqa: RUF012

    def encode_ordinary(self, text: str) -> list[int]:
        return [ord(letter) % 30 for letter in text]

    def decode(self, ids: list[int]) -> str:
        return chr(97 + ids[0])
