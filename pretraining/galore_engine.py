"""GaLore by its authors' library, `optimizer=galore_torch`: the oracle of `galore`, and an engine to choose.

galore-torch keeps a Python object in its state, which no safe loader reads back. Here it is taken apart into
its tensors when state is saved and put together again when it is loaded, so that checkpoints stay without
pickle and a run resumes exactly. A new projector is a slice of U or Vᵀ; it is copied, because the slice keeps all
of U alive, and because products with a slice round differently than with the copy that a resumed run reads.
Three differences to ours are the library's own: it decays after the step, it takes the signs of singular vectors
as they come, and it rotates at full rank too. The library imports transformers and bitsandbytes, seconds of
import, so it is loaded when it is chosen and not before.
"""

from __future__ import annotations

from typing import Any

import torch

from utils.errors import UserError

_INSTALL = "pip install -c constraints.txt -e '.[galore]', or use optimizer=galore, which needs neither"
_SAVED = "ortho_matrix"  # what a projector is made of: one tensor, or a list of two


def library() -> Any:
    """The module `galore_torch`. Raises UserError naming what is missing and the command that adds it."""
    try:
        import galore_torch
    except ImportError as error:
        missing = getattr(error, "name", None) or "galore_torch"
        raise UserError(
            f"optimizer=galore_torch needs {missing}, which is not installed: {_INSTALL}"
        ) from error
    return galore_torch


def build_galore_torch(groups: list[dict[str, Any]], **defaults: Any) -> torch.optim.Optimizer:
    """galore-torch's AdamW over these groups (each with rank, update_proj_gap, scale, proj_type)."""
    adamw, projector = library().GaLoreAdamW, _projector_class()

    class GaloreTorch(adamw):  # type: ignore[misc, valid-type]
        """The library's optimizer with a state that is tensors and numbers."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            super().step(closure)
            for value in self.state.values():
                if "projector" in value:
                    value["projector"].ortho_matrix = _compact(value["projector"].ortho_matrix)

        def state_dict(self) -> dict[str, Any]:
            saved = super().state_dict()
            plain = {key: dict(value) for key, value in saved["state"].items()}
            for value in plain.values():
                if "projector" in value:
                    value["projector"] = {_SAVED: value["projector"].ortho_matrix}
            return {**saved, "state": plain}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            super().load_state_dict(state_dict)
            for group in self.param_groups:
                for p in group["params"]:
                    value = self.state.get(p, {})
                    if isinstance(value.get("projector"), dict):
                        value["projector"] = _rebuilt(projector, group, value["projector"][_SAVED])

    return GaloreTorch(groups, no_deprecation_warning=True, **defaults)


def _projector_class() -> Any:
    from galore_torch.galore_projector import GaLoreProjector

    return GaLoreProjector


def _compact(matrix: Any) -> Any:
    """The projector's tensor, or its two, without the rest of what they were cut from."""
    if isinstance(matrix, list):
        return [part.clone(memory_format=torch.contiguous_format) if _cut(part) else part for part in matrix]
    return matrix.clone(memory_format=torch.contiguous_format) if _cut(matrix) else matrix


def _cut(part: torch.Tensor) -> bool:
    return part.untyped_storage().nbytes() > part.numel() * part.element_size()


def _rebuilt(projector: Any, group: dict[str, Any], matrix: Any) -> Any:
    """The library's projector of this group, holding `matrix`."""
    made = projector(
        group["rank"],
        update_proj_gap=group["update_proj_gap"],
        scale=group["scale"],
        proj_type=group["proj_type"],
    )
    made.ortho_matrix = matrix
    return made
