"""Rows of evidence: every way in which a visit can speak for a state, numbered, so that all counts are one matrix."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RowLayout"]


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """Numbers of the rows of evidence; the matrix of log-weights and the matrix of counts have this many rows.

    A visit's log-likelihood in a state is that of no code at all (every code absent, never had) plus the weights of its
    rows. Of C codes with parents among U codes:

    ================== ======= =================================================================================
    block              rows    the visit has the row when
    ================== ======= =================================================================================
    previous_absent    C       the code was in the previous visit (whether it is in this one or not)
    earlier_absent     C       the code was in an earlier visit, not the previous
    new                C       the code is present for the first time, its parent is not
    new_with_parent    C       the code is present for the first time, and so is its parent
    previous           C       the code was in the previous visit and is in this one
    earlier            C       the code was in an earlier visit, not the previous, and is in this one
    parent             U       the code is present and has children (says: they are absent though their parent is not)
    child_has_history  C       the code has history and its parent is present (takes back the word of `parent`)
    gap                B       days to the next visit
    encounter_class    E
    stay               E * L   minutes of stay
    goes_on            V       another visit follows, by band of the visit's number
    ends               V       none does
    ================== ======= =================================================================================

    If `n_slots`, a visit has room for so many of the first `n_truncated` codes (`ehrsynth.learning.slots`).
    `n_sexes` are the sexes among the strata; no rows are theirs. Every visit has one of the first `n_truncated` codes.
    Of the first `n_led` codes those with a parent are its satellites: in a visit without it they have no history.

    The first two are the *history rows*: with the base alone they make the probability of a visit without codes. Codes
    are those of all families, those of the first family (conditions) first. Of the V bands of a visit's place in the
    record, `n_elapsed` bands of time follow each other within each band of its number.
    """

    n_codes: int
    n_parents: int
    n_gaps: int
    n_classes: int
    n_stays: int
    n_bands: int
    n_sexes: int = 1
    n_truncated: int = 0
    n_elapsed: int = 1
    n_slots: int = 0
    n_led: int = 0

    @property
    def previous_absent(self) -> int:
        """First row of the block."""
        return 0

    @property
    def earlier_absent(self) -> int:
        """First row of the block."""
        return self.n_codes

    @property
    def n_history(self) -> int:
        """Rows of the first two blocks."""
        return 2 * self.n_codes

    @property
    def new(self) -> int:
        """First row of the block."""
        return 2 * self.n_codes

    @property
    def new_with_parent(self) -> int:
        """First row of the block."""
        return 3 * self.n_codes

    @property
    def previous(self) -> int:
        """First row of the block."""
        return 4 * self.n_codes

    @property
    def earlier(self) -> int:
        """First row of the block."""
        return 5 * self.n_codes

    @property
    def parent(self) -> int:
        """First row of the block."""
        return 6 * self.n_codes

    @property
    def child_has_history(self) -> int:
        """First row of the block."""
        return 6 * self.n_codes + self.n_parents

    @property
    def gap(self) -> int:
        """First row of the block."""
        return 7 * self.n_codes + self.n_parents

    @property
    def encounter_class(self) -> int:
        """First row of the block."""
        return self.gap + self.n_gaps

    @property
    def stay(self) -> int:
        """First row of the block."""
        return self.encounter_class + self.n_classes

    @property
    def goes_on(self) -> int:
        """First row of the block."""
        return self.stay + self.n_classes * self.n_stays

    @property
    def ends(self) -> int:
        """First row of the block."""
        return self.goes_on + self.n_bands

    @property
    def n_rows(self) -> int:
        """All rows."""
        return self.ends + self.n_bands
