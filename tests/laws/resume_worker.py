"""Run as a program: resume the run in the given folder at step 10 and write what came out (law LP1)."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from training_checks import RESUME, state_of, trained

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    state = state_of(*trained(folder, RESUME, resume_at=10))
    save_file(state.pop("tensors"), folder / "resumed.safetensors")
    (folder / "resumed.json").write_text(json.dumps(state))
