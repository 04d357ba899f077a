"""The table of attention variants: a name in a config on the left, a class on the right.

A new variant is one file with the constructor `Variant(config)`, the forward signature of
`multi_head.MultiHeadAttention` and a static `make_cache`; and one line here. Tests of the laws are
parametrised over this table, so a variant is under every law by being listed.
"""

from torch import nn

from attention_mechanisms.multi_head import MultiHeadAttention

ATTENTIONS: dict[str, type[nn.Module]] = {
    "mha": MultiHeadAttention,
}
