"""A linear map with a low-rank change beside it: y = W x + b + scale · B (A x).

The two products with A and B cost r · (in + out) a token instead of the in · out that ΔW would, and ΔW itself is
never built while training. `weight` is what the layer amounts to, W + scale · B A, for whoever reads the matrix instead
of multiplying with it: MLA's absorbed path, the decode step, an export.

DoRA: the rows of W + scale · B A give directions, a vector m of trained lengths replaces their own:

    row_i = m_i · (W + scale · B A)_i / ‖(W + scale · B A)_i‖

with the norm a constant for the gradient (arXiv 2402.09353, §4.3). The base may be an `nn.Linear` or one in 4 bits.
Left out: dropout on DoRA's base part. Which layers get one, and what an adapter's name means: `lora`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_model.decode_linear import plain_linear

if TYPE_CHECKING:
    from finetuning.lora import LoRAConfig


class LoRALinear(nn.Linear):
    """`base` with any number of adapters by name, one of which (`active`) or none is in use."""

    def __init__(self, base: Any) -> None:
        nn.Module.__init__(self)  # not nn.Linear's: the matrix is the base's
        self.in_features, self.out_features = base.in_features, base.out_features
        self.base = base
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.lora_magnitude = nn.ParameterDict()  # DoRA's lengths, (out,)
        self.settings: dict[str, LoRAConfig] = {}
        self.active: str | None = None
        self._before: list[
            nn.Module
        ] = []  # the base, while a merged one stands in its place; in a list: not saved

    def add(self, name: str, config: LoRAConfig, generator: torch.Generator) -> None:
        """A new adapter: A uniform in ± 1/√in, B zero, and lengths as the rows have them. Float32 whatever the base."""
        a, b = torch.empty(config.r, self.in_features), torch.zeros(self.out_features, config.r)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        device = self.base.weight.device
        self.lora_A[name], self.lora_B[name] = nn.Parameter(a.to(device)), nn.Parameter(b.to(device))
        self.settings[name] = config
        if config.dora:
            self.lora_magnitude[name] = nn.Parameter(self.summed(name).norm(dim=1).detach())

    @property
    def merged(self) -> bool:
        """Whether the base in place has an adapter added into it."""
        return bool(self._before)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix that the layer amounts to, (out, in), with gradients; dropout is not part of it."""
        if self.active is None or self.merged:
            return self.base.weight
        total = self.summed(self.active)
        if self.active in self.lora_magnitude:
            total = total * self.gain(self.active)[:, None]
        return total.to(self.base.weight.dtype)

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The base's."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if self.active is None or self.merged:
            return y
        config, a, b = self.settings[self.active], self.lora_A[self.active], self.lora_B[self.active]
        wide = x if torch.is_autocast_enabled(x.device.type) else x.to(a.dtype)
        few = F.linear(F.dropout(wide, config.dropout, self.training), a)  # (…, r)
        change = (F.linear(few, b) * config.scale).to(y.dtype)  # (…, out)
        if self.active not in self.lora_magnitude:
            return y + change
        gain = self.gain(self.active).to(y.dtype)
        product = y if self.bias is None else y - self.bias
        return y + (gain - 1) * product + gain * change

    def summed(self, name: str) -> Tensor:
        """W + scale · B A in float32 (at least), (out, in)."""
        a, b = self.lora_A[name], self.lora_B[name]
        with torch.autocast(a.device.type, enabled=False):
            return self.base.weight.to(a.dtype) + self.settings[name].scale * (b @ a)

    def gain(self, name: str) -> Tensor:
        """DoRA: what each row is multiplied with, (out,): its trained length over the one that it has."""
        return self.lora_magnitude[name] / self.summed(name).norm(dim=1).detach()

    def adapter_parameters(self, name: str | None = None) -> dict[str, nn.Parameter]:
        """Own names ("lora_A.default") and parameters, of one adapter or of all."""
        return {
            f"{kind}.{own}": parameter
            for kind in ("lora_A", "lora_B", "lora_magnitude")
            for own, parameter in getattr(self, kind).items()
            if name is None or own == name
        }

    @torch.no_grad()
    def merge(self, into: str = "auto") -> None:
        """Put a base in place that has the active adapter in it; see `lora.merge_lora`."""
        from finetuning.qlora import stored_as

        if self.merged or self.active is None:
            return
        weight = stored_as(self.weight, into, self.base)
        merged = plain_linear(weight, self.bias)
        self._before.append(self.base)
        self.base = merged

    def unmerge(self) -> None:
        """Put the base of before back."""
        if self.merged:
            self.base = self._before.pop().to(self.base.weight.device)

    def extra_repr(self) -> str:
        own = ", ".join(f"{name}: r={config.r}" for name, config in self.settings.items())
        return f"{self.in_features} -> {self.out_features}, {own}, active={self.active}"
