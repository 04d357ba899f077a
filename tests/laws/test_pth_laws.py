"""A `.pth` of others becomes a GPT of ours with the same logits, safely, or is refused by name."""

import pth_checks as checks
import pytest
import torch

from pretraining.import_pth import main, read_pth
from utils.errors import UserError


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoint_of_nanogpt_gives_the_same_logits(bias, prefix, tmp_path):
    checks.check_nanogpt(tmp_path, bias=bias, prefix=prefix)


def test_a_state_dict_of_transformers_gives_the_same_logits(tmp_path):
    pytest.importorskip("transformers")
    checks.check_transformers(tmp_path)


def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path):
    checks.check_code_is_refused(tmp_path)


def test_what_cannot_be_read_is_one_line_that_says_why(tmp_path):
    path = tmp_path / "x.pth"
    with pytest.raises(UserError, match="does not exist"):
        read_pth(path)
    path.write_bytes(b"not a file of torch")
    with pytest.raises(UserError, match="cannot be read safely"):
        read_pth(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds no state dict"):
        read_pth(path)
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"its tensors are called conv\.weight"):
        read_pth(path)
    state = checks.NanoGPT().state_dict()
    torch.save(state, path)
    with pytest.raises(UserError, match=r"does not say how many heads its 24 channels.*n_head=6"):
        read_pth(path)
    with pytest.raises(UserError, match="n_head"):
        read_pth(path, n_head=5)
    torch.save({n: t for n, t in state.items() if "h.1.ln_2" not in n}, path)
    with pytest.raises(UserError, match=r"incomplete: nothing in it fills blocks\.1\.norm_2"):
        read_pth(path, n_head=3)


def test_the_command_writes_a_folder_that_loads(tmp_path, capsys):
    model = checks.large(checks.NanoGPT())
    torch.save(model.state_dict(), tmp_path / "ckpt.pt")
    assert main([f"file={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}", "n_head=3"]) == 0
    assert "2 layers of 24 with 3 heads" in capsys.readouterr().out
    from gpt_model.gpt import GPT

    ids = torch.arange(9)[None]
    assert torch.allclose(GPT.load(tmp_path / "out")(ids).logits, model(ids), atol=1e-4)
    with pytest.raises(UserError, match="file is empty"):
        main([])
