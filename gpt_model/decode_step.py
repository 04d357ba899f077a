"""One token for every row, as fast as memory allows: the model's decode step with fixed shapes.

    step = DecodeStep(model, cache, compile=True)
    logits = step(ids, cache)                # ids (B, 1) -> (B, vocab_size); the cache has grown by one

The idea: `model(ids, cache=cache)` serves any number of tokens, every variant, with or without gradients. A decode
step is always the same: one token a row, and reading weights is nearly all of it. So the model is copied (sharing what
it can) with each linear map laid out for few rows (`decode_linear`) and the attention cut down to one query.
Compiled, all shapes are fixed: the new key goes into slot `cache.length`, which is a number in a tensor and no part of
the program, and every slot is looked at, with a share of zero where nothing stands yet. One program serves all steps.

The logits are those of `model(ids, cache=cache)`, with padded rows too (a law). What has no step of its own (latents,
windows, int8 caches) runs the model's, with the maps laid out; `reason` says why. Without a compiler the step runs
eagerly and says so once. gpt-fast (PyTorch, 2023) is the model for fixed shapes and one compiled step.
Left out on purpose: more than one token at a time (a prefill is the model's), and training.
"""

import copy
import itertools
import types
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from attention_mechanisms.grouped_query import GroupedQueryAttention
from attention_mechanisms.kv_cache import FullKVCache, KVCache
from attention_mechanisms.multi_head import MultiHeadAttention
from gpt_model.decode_attention import StepAttention, StepLayer, layers_of, place_of
from gpt_model.decode_linear import cast, lay_out, plain_linear
from gpt_model.gpt import GPT
from gpt_model.quantized_layers import Int8Embedding, QuantizedLinear
from utils.errors import UserError


class DecodeStep:
    """A callable `step(ids, cache) -> logits`; see the module's text.

    `dtype`: the precision to compute in, by default the model's. `cache`: tells the number of rows to lay weights out
    for, and serves calls that name none. `compile`: asks for torch.compile, at once where a cache is given; each
    further number of rows or capacity compiles anew at its first call, tens of seconds.

    The model itself is not touched; when it changes (trained, quantised), make a new step.
    """

    def __init__(
        self,
        model: GPT,
        cache: KVCache | None = None,
        *,
        compile: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.source, self.cache = model, cache
        self.dtype = dtype or model.dtype
        self.rows = 1 if cache is None else cache.batch
        self.reason = why_not(model)
        if compile and self.reason:
            say(f"the decode step runs eagerly: {self.reason}")
        self.program: Any = None
        if compile and not self.reason and compiler_found(model.device):
            self.program = torch.compile(
                own_code(static_step), dynamic=False, fullgraph=True, options=compile_options()
            )
        self.model = laid_out(model, self.dtype, self.rows, compiled=self.compiled)
        if cache is not None:
            self.warm_up(cache)

    @property
    def compiled(self) -> bool:
        """Whether steps run a compiled program."""
        return self.program is not None

    @torch.inference_mode()
    def __call__(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits (B, V) after one more token for each row, ids (B, 1); `cache` grows by one."""
        cache = self.cache if cache is None else cache
        if cache is None:
            raise UserError("a decode step needs a cache: model.new_cache(rows), filled by a prefill")
        if ids.dim() != 2 or ids.size(1) != 1:
            raise UserError(
                f"ids have shape {tuple(ids.shape)}: a decode step takes one token a row, (rows, 1)"
            )
        if self.reason or why_not_cache(cache) or cache.length >= self.model.config.block_size:
            return self.model(ids, cache=cache).logits[:, -1]  # which refuses a text that is too long
        cache.check_room(ids.size(0), 1)
        logits = self._compiled(ids, cache) if self.compiled else eager_step(self.model, ids, cache)
        cache.advance(1)
        return logits

    def warm_up(self, cache: KVCache) -> None:
        """Compile for the rows and the capacity of `cache`, whose content stays as it is."""
        if not self.compiled or why_not_cache(cache):
            return
        length, slot = cache.length, min(cache.length, cache.capacity - 1)
        kept = [tensor[..., slot, :].clone() for tensor in cache.tensors()]
        ids = torch.zeros(cache.batch, 1, dtype=torch.long, device=cache.device)
        cache.length = slot
        with torch.inference_mode():
            self._compiled(ids, cache)
            for tensor, old in zip(cache.tensors(), kept, strict=True):
                tensor[..., slot, :] = old
        cache.length = length

    def _compiled(self, ids: Tensor, cache: KVCache) -> Tensor:
        rows, device = ids.size(0), ids.device
        real = cache.mask_with_new(rows, cache.capacity - cache.length)
        # New tensors in any case: torch compiles anew for those that were not made under inference mode.
        ids, full = ids.clone(), (rows, cache.capacity)
        mask = torch.ones(full, dtype=torch.bool, device=device) if real is None else real.clone()
        slot = torch.tensor([cache.length], device=device)
        try:
            return self.program(self.model, ids, slot, mask, cache.tensors())
        except Exception as error:
            if not type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                raise
            say(f"the decode step runs eagerly: torch.compile failed ({str(error).splitlines()[0]})")
        self.program = None
        self.model = laid_out(self.source, self.dtype, self.rows, compiled=False)
        return eager_step(self.model, ids, cache)


def eager_step(model: GPT, ids: Tensor, cache: KVCache) -> Tensor:
    """The step with what Python knows: how many slots are filled, and whether anything is padding."""
    length = cache.length
    mask = cache.mask_with_new(ids.size(0), 1)  # (B, length + 1) or None
    positions = None if mask is None else mask[:, :-1].sum(dim=1)  # real tokens before the new one
    place = place_of(first_attention(model), length, length + 1, positions, mask, ids.device)
    here = length if positions is None else positions
    return run_blocks(model, ids, here, layers_of(cache.tensors(), place))


def static_step(model: GPT, ids: Tensor, slot: Tensor, mask: Tensor, stores: list[Tensor]) -> Tensor:
    """The step with all shapes fixed: slot (1,) is a tensor, mask (B, capacity) says which slots hold real tokens.

    `stores` are the keys and values of the layers in turn, (B, H_kv, capacity, D).
    """
    slots = torch.arange(mask.size(1), device=ids.device)
    positions = (mask & (slots < slot)).sum(dim=1)
    place = place_of(first_attention(model), slot, len(slots), positions, mask & (slots <= slot), ids.device)
    return run_blocks(model, ids, positions, layers_of(stores, place))


def first_attention(model: GPT) -> MultiHeadAttention:
    """The attention inside the first block's `StepAttention`: positions are the same for all."""
    step: Any = model.blocks[0].attn
    return step.attn


def run_blocks(model: GPT, ids: Tensor, positions: int | Tensor, layers: list[StepLayer]) -> Tensor:
    """What both have in common: embed the token (B, 1), go through the blocks, (B, V)."""
    x = model.token_embedding(ids)  # (B, 1, n_embd)
    if model.position_embedding is not None:
        rows = model.position_embedding.weight[positions]  # (n_embd,) or (B, n_embd)
        x = x + (rows if rows.dim() == 1 else rows[:, None]).to(x.dtype)
    for block, layer in zip(model.blocks, layers, strict=True):
        x = block(x, layer)
    return model.unembed(x)[:, 0]


@torch.no_grad()
def laid_out(model: GPT, dtype: torch.dtype, rows: int, *, compiled: bool) -> GPT:
    """A copy of the model for decoding: linear maps in the form for `rows` rows, attention for one query.

    Parameters that need no other form are shared with the model.
    """

    def twin(module: nn.Module, name: str = "") -> Any:
        if isinstance(module, nn.Linear | QuantizedLinear) and name != "kv_up_proj":
            return lay_out(module, dtype, rows, compiled=compiled)
        if isinstance(module, nn.Dropout):
            return nn.Identity()
        new = copy.copy(module)
        new._parameters = {key: cast(value, dtype) for key, value in module._parameters.items()}
        new._buffers = dict(module._buffers)  # tables of positions keep their precision
        new._modules = {key: child and twin(child, key) for key, child in module._modules.items()}
        if type(module) in STEPS:
            return StepAttention(new)  # type: ignore[arg-type]
        return new

    new = twin(model).eval()
    if isinstance(new.token_embedding, Int8Embedding):
        new.token_embedding.like = new.token_embedding.like.to(dtype)
    elif new.head is None:  # tied: the table is read by rows and as a whole
        new.head = lay_out(plain_linear(new.token_embedding.weight), dtype, rows, compiled=compiled)
    return new


STEPS = (MultiHeadAttention, GroupedQueryAttention)  # the variants that `StepAttention` knows


def why_not(model: GPT) -> str | None:
    """Why a model has no step of its own, or None."""
    kind = type(model.blocks[0].attn)
    if model.config.ngram_rows:
        return "its n-gram embedding looks at earlier tokens"
    if kind in STEPS:
        return None
    return f"attention {model.config.attention} ({kind.__name__}) has no step with fixed shapes"


def why_not_cache(cache: KVCache) -> str | None:
    """Why a cache is handed to the model instead, or None."""
    if type(cache) is not FullKVCache:
        return f"{type(cache).__name__} is no cache of all tokens"
    if cache.dtype == torch.int8:
        return "its keys are kept in int8"
    return None


def compiler_found(device: torch.device) -> bool:
    """Whether torch.compile has what it needs for this device; if not, one message says what is missing."""
    try:
        if device.type == "cpu":
            from torch._inductor.cpp_builder import get_cpp_compiler

            get_cpp_compiler()
        else:
            import triton  # noqa: F401
    except Exception as error:  # what is raised differs between releases of torch
        missing = "a C++ compiler (g++ or clang++)" if device.type == "cpu" else "triton"
        say(f"the decode step runs eagerly: torch.compile needs {missing} ({type(error).__name__})")
        return False
    return True


def own_code(function: Any) -> Any:
    """The same function with a code object of its own: torch keeps compiled programs, and counts them, by that."""
    name = f"{function.__name__}_{next(_NUMBERS)}"  # equal code objects would count as one
    return types.FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)


_NUMBERS = itertools.count()


def compile_options() -> dict[str, Any]:
    """What torch.compile is told: to multiply and add in one instruction, and to look at nothing that cannot change.

    A step's model stays as it is, so its hundreds of attributes need no looking at; nor do the sizes of its buffers.
    """
    wanted = {"size_asserts": False, "cpp.enable_floating_point_contract_flag": "fast"}
    known = torch._inductor.list_options()
    options: dict[str, Any] = {key: value for key, value in wanted.items() if key in known}
    options["guard_filter_fn"] = torch.compiler.skip_guard_on_all_nn_modules_unsafe
    return options


def say(message: str) -> None:
    """One line for a person, once for each text (the rule of `warnings`)."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)
