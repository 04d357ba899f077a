"""Instruction tuning: the same Trainer, on conversations, with a loss on the answers only."""
