"""Numbers in the place of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["numbers"]


def numbers(texts: Sequence[str], order: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the place of each text in `order`, -1 for none."""
    place = {text: at for at, text in enumerate(order)}
    return np.array([float(place.get(text, -1)) for text in texts])
