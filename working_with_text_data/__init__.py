"""From bytes to batches: documents, tokenizers, shards, windows, and the generated world Storyland.

The names below are what other chapters use. They are imported on first use (PEP 562), so that
`import working_with_text_data` costs nothing and a tokenizer command never waits for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from utils.lazy import resolve

_HOME = {
    "Tokenizer": "tokenizer",
    "SpecialTokens": "tokenizer",
    "load_tokenizer": "tokenizer",
    "tokenizer_hash": "tokenizer",
    "ByteTokenizer": "byte_tokenizer",
    "BPETokenizer": "bpe_tokenizer",
    "SPLIT_PATTERNS": "patterns",
    "train_bpe": "fast_bpe",
    "train_bpe_readable": "bpe",
    "train_on_bytes": "bpe",
    "train_on_words": "bpe",
    "find_special_tokens": "special_tokens",
    "StreamingDecoder": "streaming_decode",
    "load_tiktoken": "tiktoken_ranks",
    "GPT2Tokenizer": "tiktoken_ranks",
    "GPT4Tokenizer": "tiktoken_ranks",
    "GPT4oTokenizer": "tiktoken_ranks",
    "TiktokenTokenizer": "tiktoken_adapter",
    "to_tiktoken": "tiktoken_adapter",
    "HuggingFaceTokenizer": "huggingface_adapter",
    "to_huggingface": "huggingface_export",
    "export_tokenizer_json": "huggingface_export",
    "token_table": "token_rows",
    "coloured": "inspect_terminal",
    "token_strip_html": "inspect_html",
    "statistics_of": "inspect_statistics",
    "compare_tokenizers": "inspect_compare",
    "estimate_price": "token_prices",
    "Document": "documents",
    "load_documents": "documents",
    "iter_documents": "documents",
    "Problems": "documents",
    "HubSource": "huggingface_source",
    "build_corpus_from_sources": "build_corpus",
    "validate_dataset": "user_dataset",
    "DatasetReport": "user_dataset",
    "safe_extract": "safe_archives",
    "safe_name": "safe_archives",
    "Manifest": "manifest",
    "make_manifest": "manifest",
    "clean_documents": "cleaning",
    "CleaningConfig": "cleaning",
    "split_documents": "splitting",
    "Split": "splitting",
    "assign": "splitting",
    "document_hash": "splitting",
    "describe": "text_statistics",
    "compare_statistics": "text_statistics",
    "TextStatistics": "text_statistics",
    "write_shards": "shards",
    "open_shards": "shards",
    "TokenArray": "shards",
    "NextTokenPredictionDataset": "windows",
    "BatchLoader": "windows",
    "LMDataset": "windows",
    "PackedBatches": "packing",
    "document_mask": "packing",
    "Prefetcher": "prefetch",
    "DocumentStream": "streaming_windows",
    "StreamingLoader": "streaming_windows",
    "ExampleBatches": "example_batches",
    "Story": "storyland",
    "stories": "storyland",
    "story_corpus": "storyland",
    "check_story": "storyland.checker",
    "Verdict": "storyland.checker",
    "Violation": "storyland.checker",
    "Instruction": "storyland.tasks",
    "instructions": "storyland.tasks",
    "KINDS": "storyland.tasks",
    "verify": "storyland.tasks",
    "held_out": "storyland.tasks",
    "reviews": "storyland.reviews",
    "preferences": "storyland.preferences",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:  # for editors and type checkers, which cannot follow __getattr__
    from working_with_text_data.bpe import train_bpe_readable as train_bpe_readable
    from working_with_text_data.bpe_tokenizer import BPETokenizer as BPETokenizer
    from working_with_text_data.byte_tokenizer import ByteTokenizer as ByteTokenizer
    from working_with_text_data.cleaning import CleaningConfig as CleaningConfig
    from working_with_text_data.cleaning import clean_documents as clean_documents
    from working_with_text_data.documents import Document as Document
    from working_with_text_data.documents import load_documents as load_documents
    from working_with_text_data.fast_bpe import train_bpe as train_bpe
    from working_with_text_data.splitting import Split as Split
    from working_with_text_data.splitting import split_documents as split_documents
    from working_with_text_data.streaming_decode import StreamingDecoder as StreamingDecoder
    from working_with_text_data.tokenizer import Tokenizer as Tokenizer
    from working_with_text_data.tokenizer import load_tokenizer as load_tokenizer
    from working_with_text_data.tokenizer import tokenizer_hash as tokenizer_hash
    from working_with_text_data.windows import BatchLoader as BatchLoader
    from working_with_text_data.windows import NextTokenPredictionDataset as NextTokenPredictionDataset


def __getattr__(name: str) -> Any:
    return resolve(__name__, _HOME, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
