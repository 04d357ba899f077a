"""A tokenizer with role markers and a model of nothing, made once."""

import pytest


@pytest.fixture(scope="session")
def chat_tokenizer():
    from pretraining.recipe import SPECIAL_TOKENS
    from working_with_text_data import story_corpus, train_bpe

    return train_bpe(story_corpus(n_stories=80, seed=2), 400, special_tokens=SPECIAL_TOKENS)


@pytest.fixture
def tiny_gpt(chat_tokenizer):
    import torch

    from gpt_model import GPT, GPTConfig

    torch.manual_seed(0)
    shape = {"block_size": 128, "n_layer": 1, "n_head": 2, "n_embd": 32, "position": "rope"}
    return GPT(GPTConfig(vocab_size=chat_tokenizer.vocab_size, **shape))
