"""The whole way in one command: corpus, tokenizer, training, proof, tuning, decoding, report."""
