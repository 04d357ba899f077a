"""The released GPT-2 of 124M parameters, for whoever has a network or its files in the cache.

Not part of a normal run, which needs neither: the test exists only when it is asked for,

    SCRATCHBOOK_REAL_GPT2=1 HF_HUB_OFFLINE=0 TRANSFORMERS_OFFLINE=0 python -m pytest tests/gpt_model/test_real_gpt2.py

and is skipped, with the reason, where the weights cannot be had.
"""

from __future__ import annotations

import os

import pytest
import torch

from gpt_model import GPT, Sampling, generate, preset
from gpt_model.huggingface import find_model
from utils.errors import UserError
from working_with_text_data.huggingface_adapter import HuggingFaceTokenizer

if os.environ.get("SCRATCHBOOK_REAL_GPT2"):

    def test_the_released_124m_model_gives_transformers_logits_and_continues_a_text():
        from transformers import GPT2LMHeadModel

        try:
            folder = find_model("gpt2")
        except UserError as error:
            pytest.skip(str(error))
        model, reference = GPT.from_pretrained("gpt2"), GPT2LMHeadModel.from_pretrained(folder).eval()
        assert model.num_parameters() == 124_439_808
        assert model.config == preset("gpt2")
        tokenizer = HuggingFaceTokenizer.load(folder / "tokenizer.json")
        ids = tokenizer.encode_ordinary("Hello, I'm a language model,")
        with torch.no_grad():
            got, wanted = model(torch.tensor([ids])).logits, reference(torch.tensor([ids])).logits
        assert (got - wanted).abs().max() < 1e-3  # logits of about 100
        assert torch.equal(got.argmax(-1), wanted.argmax(-1))
        (new,) = generate(model, [ids], max_new_tokens=20, sampling=Sampling(temperature=0.0))
        greedy = reference.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :]
        assert new == greedy.tolist()
