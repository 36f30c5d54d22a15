"""Unit vectors that lie as embeddings do, low rank plus a little noise, for collections of any size.

Random vectors of 512 dims have no neighbours to speak of: recall on them says nothing. Vectors come in blocks, each
drawn from the seed and its own number alone, so that any stretch of a million can be made again without the rest.
"""

from collections.abc import Iterator

import numpy as np

from connector.records import Vectors

RANK = 32
NOISE = 0.3
BLOCK = 10_000
"""Vectors drawn at a time."""


def structured_vectors(count: int, *, dims: int = 512, seed: int) -> Vectors:
    """The first ``count`` vectors of this seed: (count, dims) float32, of length one. Seeds share their low rank."""
    vectors = np.empty((count, dims), dtype=np.float32)
    for number, block in enumerate(structured_blocks(count, dims=dims, seed=seed)):
        vectors[number * BLOCK : number * BLOCK + len(block)] = block
    return vectors


def structured_blocks(count: int, *, dims: int = 512, seed: int) -> Iterator[Vectors]:
    """The same vectors, ``BLOCK`` at a time; the last block may be shorter."""
    for number in range(-(-count // BLOCK)):
        yield _block(number, dims=dims, seed=seed)[: count - number * BLOCK]


def _block(number: int, *, dims: int, seed: int) -> Vectors:
    basis = np.random.default_rng(0).standard_normal((RANK, dims), dtype=np.float32)
    generator = np.random.default_rng((seed, number))
    vectors = generator.standard_normal((BLOCK, RANK), dtype=np.float32) @ basis
    vectors += NOISE * generator.standard_normal((BLOCK, dims), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
