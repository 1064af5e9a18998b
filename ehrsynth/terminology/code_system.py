"""A code system: its codes, what they say, and what else is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from ehrsynth.errors import ResourceError
from ehrsynth.terminology.coding import Coding
from ehrsynth.terminology.package import VocabularyPackage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["CodeSystem"]


class CodeSystem(VocabularyPackage):
    """The codes of one system, as a data package with a resource ``codes``.

    The table ``codes`` has a column ``code`` and usually ``display``. Known by name, and used where present: ``sex``
    (``female`` or ``male``: the only sex it is possible for), ``min_age`` and ``max_age`` (completed years:
    min_age <= age < max_age), ``chronic`` (boolean), ``category``, ``status``.
    ``"ehrsynth": {"hierarchy": "prefix"}`` in the descriptor says that a longer code is a child of the shorter one it
    begins with; a code that is not listed then takes the limits of its nearest listed ancestor.
    """

    def __init__(self, folder: Traversable) -> None:
        super().__init__(folder)
        self.uri: str = self.properties.get("uri", "")
        if not self.uri:
            raise ResourceError(
                "The code system has no URI.", file=folder.joinpath("datapackage.json"), hint='Add "uri" to "ehrsynth".'
            )
        self.hierarchical: bool = self.properties.get("hierarchy") == "prefix"

    @property
    def codes(self) -> pa.Table:
        """The table of codes."""
        return self.table("codes")

    def __len__(self) -> int:
        return int(self.codes.num_rows)

    @cached_property
    def _rows(self) -> dict[str, int]:
        # A dictionary and not a sorted array: most questions are about a handful of codes, over and over.
        return {code: row for row, code in enumerate(self.codes["code"].to_pylist())}

    def __contains__(self, code: object) -> bool:
        return code in self._rows

    def rows(self, codes: Iterable[str | None]) -> npt.NDArray[np.int64]:
        """Return the row of each code in the table, -1 where it is not listed; shape (n,)."""
        import numpy as np

        find = self._rows
        return np.fromiter((find.get(code, -1) for code in as_texts(codes)), dtype=np.int64)  # type: ignore[arg-type]

    def ancestor_rows(self, codes: Iterable[str | None]) -> npt.NDArray[np.int64]:
        """Return the row of each code or, in a hierarchy by prefix, of its nearest listed ancestor; -1 for none."""
        import numpy as np

        texts = as_texts(codes)
        rows = self.rows(texts)
        if self.hierarchical:
            for at in np.flatnonzero(rows < 0).tolist():
                text = texts[at] or ""
                for stop in range(len(text) - 1, 2, -1):
                    # The parent of J45.9 is J45: no code ends with its dot.
                    found = self._rows.get(text[:stop].rstrip("."), -1)
                    if found >= 0:
                        rows[at] = found
                        break
        return rows

    def column(self, name: str, codes: Iterable[str | None]) -> list[Any]:
        """Return the value of a column for each code; None where the code or the value is not listed."""
        if name not in self.codes.column_names:
            return [None] * len(as_texts(codes))
        import numpy as np
        import pyarrow as pa

        rows = self.rows(codes)
        taken = self.codes[name].take(pa.array(np.where(rows < 0, 0, rows), mask=rows < 0)) if len(self) else None
        return taken.to_pylist() if taken is not None else [None] * len(rows)

    def displays(self, codes: Iterable[str | None]) -> list[str | None]:
        """Return what each code says; None where it is not listed."""
        return self.column("display", codes)

    def coding(self, code: str) -> Coding:
        """Return a code with its system and display."""
        return Coding(system=self.uri, code=code, display=self.displays([code])[0])


def as_texts(codes: Iterable[str | None]) -> Sequence[str | None]:
    """Return codes given as a list, numpy array, or Arrow array or column, as a sequence of text or None."""
    if isinstance(codes, list | tuple):
        return codes
    for method in ("to_pylist", "tolist"):
        if hasattr(codes, method):
            found: list[str | None] = getattr(codes, method)()
            return found
    return list(codes)
