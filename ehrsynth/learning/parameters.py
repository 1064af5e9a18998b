"""The tables that EM learns, and the log-weights of the rows of evidence that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehrsynth.learning.layout import RowLayout

__all__ = ["CodeTables", "TrajectoryTables", "code_weights", "visit_weights"]

Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_LEAST = 1e-9
_MOST = 1.0 - 1e-6
"""Probabilities of presence are kept inside, so that log-weights stay finite in single precision."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeTables:
    """P(code | state, history, parent), as `CodeFamily`: float64[Q, C] each; `parent` int32[C]."""

    never: Doubles
    never_with_parent: Doubles
    previous: Doubles
    earlier: Doubles
    parent: npt.NDArray[np.int32]

    def of(self, start: int, stop: int) -> CodeTables:
        """Return the tables of the codes start..stop-1; their parents keep their numbers."""
        return CodeTables(
            never=self.never[:, start:stop],
            never_with_parent=self.never_with_parent[:, start:stop],
            previous=self.previous[:, start:stop],
            earlier=self.earlier[:, start:stop],
            parent=self.parent[start:stop],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryTables:
    """What EM learns; shapes as in `ehrsynth.model.patient_model`.

    Attributes
    ----------
    initial : float64[R, Q]
        P(class and first state | stratum): rows sum to 1 over all flat states.
    transition : float64[D, G, K, K]
    end_hazard : float64[V, Q]
    gap : float64[Q, B]
    encounter_class : float64[Q, E]
    stay : float64[E, Q, L]
    codes : CodeTables
        Of all families.
    """

    initial: Doubles
    transition: Doubles
    end_hazard: Doubles
    gap: Doubles
    encounter_class: Doubles
    stay: Doubles
    codes: CodeTables


def code_weights(codes: CodeTables, layout: RowLayout) -> tuple[Doubles, Doubles, Singles]:
    """Return the log-weights of codes.

    Returns
    -------
    base, truncated_base : float64[Q]
        Log-probability of no code at all without history; of none of the first `layout.n_truncated` codes.
    weights : float32[layout.n_rows, Q]
        Rows that are not of codes are zero.
    """
    never, with_parent, previous, earlier = (
        np.clip(table, _LEAST, _MOST).T
        for table in (codes.never, codes.never_with_parent, codes.previous, codes.earlier)
    )
    absent, absent_with_parent = np.log1p(-never), np.log1p(-with_parent)
    absent_previous, absent_earlier = np.log1p(-previous), np.log1p(-earlier)
    weights = np.zeros((layout.n_rows, never.shape[1]), dtype=np.float32)
    c = layout.n_codes
    weights[layout.previous_absent :][:c] = absent_previous - absent
    weights[layout.earlier_absent :][:c] = absent_earlier - absent
    weights[layout.new :][:c] = np.log(never) - absent
    weights[layout.new_with_parent :][:c] = np.log(with_parent) - absent_with_parent
    weights[layout.previous :][:c] = np.log(previous) - absent_previous
    weights[layout.earlier :][:c] = np.log(earlier) - absent_earlier
    weights[layout.child_has_history :][:c] = absent - absent_with_parent
    children = np.flatnonzero(codes.parent >= 0)
    said = np.zeros((layout.n_parents, never.shape[1]))
    np.add.at(said, codes.parent[children], (absent_with_parent - absent)[children])
    weights[layout.parent :][: layout.n_parents] = said
    return absent.sum(axis=0), absent[: layout.n_truncated].sum(axis=0), weights


def visit_weights(tables: TrajectoryTables, layout: RowLayout, weights: Singles) -> None:
    """Fill in the weights of the rows that are not of codes."""
    with np.errstate(divide="ignore"):
        weights[layout.gap :][: layout.n_gaps] = np.log(tables.gap.T)
        weights[layout.encounter_class :][: layout.n_classes] = np.log(tables.encounter_class.T)
        if layout.n_stays:
            stay = np.log(tables.stay).transpose(0, 2, 1).reshape(-1, weights.shape[1])
            weights[layout.stay :][: layout.n_classes * layout.n_stays] = stay
        weights[layout.goes_on :][: layout.n_bands] = np.log1p(-tables.end_hazard)
        weights[layout.ends :][: layout.n_bands] = np.log(tables.end_hazard)
