"""The table of attention variants: a name in a config on the left, a class on the right.

A new variant is one file with the constructor `Variant(config, layer)`, the forward signature of
`multi_head.MultiHeadAttention` and a class method `make_cache`; and one line here. Tests of the laws are
parametrised over this table, so a variant is under every law by being listed.
"""

from attention_mechanisms.grouped_query import GroupedQueryAttention
from attention_mechanisms.latent import LatentAttention
from attention_mechanisms.multi_head import MultiHeadAttention
from attention_mechanisms.sliding_window import SlidingWindowAttention

ATTENTIONS: dict[str, type[MultiHeadAttention]] = {
    "mha": MultiHeadAttention,
    "gqa": GroupedQueryAttention,
    "mla": LatentAttention,
    "swa": SlidingWindowAttention,
}
