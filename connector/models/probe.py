"""The probe: whether a model gives the vectors that its declaration knows of it, for a known image and words."""

from collections.abc import Sequence

import numpy as np

from connector.errors import ModelError
from connector.records import Vector

EXACT = 1e-4
"""How far a value may be off in float32, of vectors of length 1."""
ROUNDED = 0.03
"""How far in bfloat16 or 8 bits, which are held to a cosine of 0.999 besides."""


def check_probe(vector: Vector, known: Sequence[float], *, what: str, most: float) -> None:
    """Raise ModelError where the first values of a vector, (dims,) at length 1, are not those that are known."""
    if len(known) > len(vector):
        raise ModelError(f"the probe of the {what} has {len(known)} values, its vectors have {len(vector)}.")
    off = float(np.abs(vector[: len(known)] - np.asarray(known, dtype=np.float32)).max(initial=0.0))
    if not off <= most:
        raise ModelError(
            f"the {what} is not the one that its space was declared with: its vector of the probe is off by {off:.4f}, "
            f"{most} is allowed. Fetch it again; or correct [probe] in the space's file, `polyglance space check` "
            "prints the values."
        )
