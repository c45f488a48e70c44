"""Texts to token numbers, with Hugging Face's tokenizers and the model's own vocabulary."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

LONGEST = 256
STEP = 16  # lengths are rounded up to it, so that texts of like length share a model call


class Tokens:
    """The tokenizer of a model."""

    def __init__(self, file: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.no_padding()

    def row(self, text: str) -> dict[str, np.ndarray]:
        """Give one text's row for the model, padded to the next multiple of `STEP`."""
        ids = self.tokenizer.encode(text).ids
        size = -(-len(ids) // STEP) * STEP
        return {name: values[0] for name, values in padded([ids], size).items()}

    def batch(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Give many texts' arrays, padded to the longest."""
        lists = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        return padded(lists, max(map(len, lists)))


def padded(lists: Sequence[Sequence[int]], size: int) -> dict[str, np.ndarray]:
    """Put token numbers into arrays of one width; the mask says which are real."""
    ids = np.zeros((len(lists), size), np.int64)
    mask = np.zeros((len(lists), size), np.int64)
    for place, numbers in enumerate(lists):
        ids[place, : len(numbers)] = numbers
        mask[place, : len(numbers)] = 1
    return {"input_ids": ids, "attention_mask": mask}
