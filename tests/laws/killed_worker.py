"""Run as a program: train a run, or go on with it, saying each step; it is meant to be killed (feature B6)."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from training_checks import RESUME, MaskedBatches, Watch, tiny_trainer

from pretraining.callbacks import Callback
from pretraining.checkpoints import load_checkpoint
from utils.runs import Run


class Say(Callback):
    def on_step_end(self, trainer, record):
        print(record["step"], flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    path = folder / "law" / "a"
    run = Run.open(path) if path.exists() else Run.create("law", {}, root=folder, run_id="a")
    config = replace(RESUME, save_every=1)
    trainer = tiny_trainer(config, run=run, batches=MaskedBatches(), callbacks=(Watch(), Say()))
    if (path / "checkpoints" / "last").exists():
        trainer.resume(load_checkpoint(run))
    trainer.fit()
