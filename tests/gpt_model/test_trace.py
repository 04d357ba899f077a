"""LA9 for the whole model: the maps shown are those of the forward pass, which they leave alone."""

import torch

from gpt_model import GPT, GPTConfig
from gpt_model.trace import attention_maps


def make(position="rope"):
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=50, block_size=16, n_layer=2, n_head=2, n_embd=16, position=position))


def test_maps_are_shares_over_the_past():
    ids = torch.randint(50, (1, 9), generator=torch.Generator().manual_seed(1))
    maps = attention_maps(make(), ids)
    assert maps.shape == (2, 2, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 9))
    assert (maps.triu(1) == 0).all()


def test_tracing_changes_neither_logits_nor_mode_and_leaves_no_hook():
    model = make("learned").train()
    ids = torch.arange(8).view(1, 8)
    before = model(ids).logits
    attention_maps(model, ids)
    assert torch.equal(model(ids).logits, before)
    assert model.training
    assert not any(b.attn._forward_pre_hooks for b in model.blocks)


def test_a_map_reproduces_the_output_of_its_layer():
    model = make().eval()
    ids = torch.arange(7).view(1, 7)
    maps = attention_maps(model, ids)
    attn = model.blocks[0].attn
    x = model.blocks[0].norm_1(model.token_embedding(ids))
    _, _, v = attn.project(x)
    y = attn.out_proj((maps[0] @ v[0]).transpose(0, 1).reshape(1, 7, -1))
    torch.testing.assert_close(attn(x), y)
