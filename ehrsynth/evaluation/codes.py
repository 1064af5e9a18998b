"""Fidelity of what is recorded: codes alone, in one visit, in one record and in consecutive visits.

The probabilities and R2 of Theodorou, Xiao and Sun (2023), "Synthesize high-dimensional longitudinal electronic health
records via hierarchical autoregressive language model", Nature Communications 14 (HALO), except that a same-record pair
need not be of one visit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import numpy as np

from ehrsynth.evaluation.cohort import AnyCohort, Bools, Cohort, Floats, Ints, Vocabulary
from ehrsynth.evaluation.distance import r2, share
from ehrsynth.evaluation.features import people_with
from ehrsynth.evaluation.metric import Comparison, Keys, MetricResult, Score, Scorer, Totals
from ehrsynth.evaluation.tally import Tally, pairs, tally, tally_chunks

__all__ = ["COMBINED", "CodesMetric", "log_r2"]

COMBINED = ("condition", "medication_request", "procedure")
"""The families that are also looked at together: what is found, given and done."""
PAIR_CODES = 2000
"""Pairs are counted among at most so many codes, those that most patients have..."""
MOST_PAIRS = 16_000_000
"""...and among half as many, and so on, while a cohort has more pairs than these: they are held in memory."""
FEWEST = 5
"""The log-scale figure is about keys seen at least so often in the reference: below, a logarithm is mostly noise."""

_KINDS = {
    "unigram": "codes per visit",
    "ever": "codes ever had",
    "same_visit_pairs": "same-visit pairs",
    "same_record_pairs": "same-record pairs",
    "sequential_pairs": "sequential pairs",
}


class CodesMetric:
    """Coefficients of determination of the probabilities of codes and of pairs of codes.

    For each family of codes and for conditions, medications and procedures combined:

    - ``unigram``: P(code in a visit); ``ever``: P(code in a record);
    - ``same_visit_pairs``: P(both codes in a visit); ``same_record_pairs``: P(both in a record, at any time);
    - ``sequential_pairs``: P(the first code in a visit and the second in the patient's next visit), over the pairs of
      consecutive visits.

    All visits and all records count in the denominators, those without codes too. ``r2`` is over the union of the keys
    seen in either cohort (0 where not seen), and is dominated by frequent keys; therefore also

    - ``log_r2``: of log10 of the probabilities (half a count added) of the keys seen at least 5 times in the reference;
    - ``rare_r2``: of the keys at or below the median frequency: that of the median occurrence, so that in the reference
      the rare keys make half of all occurrences (the median key mostly occurs once, of which no statistic holds); keys
      that the reference never shows are among them;
    - ``unseen``: share of the pairs of the cohort that the reference never shows.
    """

    name = "codes"
    order = 20
    in_parts = True

    def evaluate(self, comparison: Comparison) -> Iterable[MetricResult]:
        """Return R2 per kind of key and family, families in their order, combined last."""
        vocabulary = comparison.vocabulary
        if not vocabulary.n_codes:
            return []
        blocks = _pair_codes(comparison.cohorts, vocabulary)
        results = []
        for kind in _KINDS:
            results += comparison.score(
                lambda cohort, kind=kind: _count(kind, cohort, blocks),  # type: ignore[misc]
                lambda keys, reference, kind=kind: _scorer(kind, vocabulary, blocks, keys, reference),  # type: ignore[misc]
            )
        order = [*vocabulary.families, "combined"]
        return sorted(results, key=lambda result: order.index(result.name.split(".")[1]))


def _pair_codes(cohorts: list[AnyCohort], vocabulary: Vocabulary) -> list[Bools]:
    """Return sets of codes; pairs are counted within each: the combined families, and every other one by itself."""
    n_codes = vocabulary.n_codes
    support = np.zeros(n_codes)
    for cohort in cohorts:
        support += people_with(cohort) / max(cohort.n_patients, 1)
    order = np.argsort(-support, kind="stable")
    others = [name for name in vocabulary.families if name not in COMBINED]
    members = [vocabulary.codes_of(*names) for names in (COMBINED, *((name,) for name in others))]
    number = min(PAIR_CODES, n_codes)
    while True:
        kept = np.zeros(n_codes, dtype=bool)
        kept[order[:number]] = True
        blocks = [kept & one for one in members]
        if number <= 1 or max(_n_pairs(cohort, blocks) for cohort in cohorts) <= MOST_PAIRS:
            return blocks
        number //= 2


def _n_pairs(cohort: AnyCohort, blocks: list[Bools]) -> int:
    """Return the greatest number of pairs of any kind that a cohort has in the blocks together."""
    return int(max(sum(kind) for kind in zip(*(_pairs_of(part, blocks) for part in cohort.parts), strict=True)))


def _pairs_of(cohort: Cohort, blocks: list[Bools]) -> tuple[float, float, float]:
    of_record, of_visit, sequential = 0.0, 0.0, 0.0
    for block in blocks:
        ever = np.bincount(cohort.ever_patient[block[cohort.ever_code]], minlength=cohort.n_patients)
        here = np.bincount(cohort.code_visit[block[cohort.code]], minlength=cohort.n_visits)
        of_record += float((ever * (ever - 1.0)).sum() / 2)
        of_visit += float((here * (here - 1.0)).sum() / 2)
        sequential += float((here[:-1] * here[1:] * cohort.has_next[:-1]).sum())
    return of_record, of_visit, sequential


def _count(kind: str, cohort: Cohort, blocks: list[Bools]) -> Mapping[str, Tally]:
    patient_of = cohort.visit_patient
    everyone = np.arange(cohort.n_patients)
    if kind == "unigram":
        counted, units = tally(cohort, patient_of[cohort.code_visit], cohort.code), patient_of
    elif kind == "ever":
        counted, units = tally(cohort, cohort.ever_patient, cohort.ever_code), everyone
    elif kind == "same_record_pairs":
        parts = (_within(cohort.ever_patient, cohort.ever_code, block, everyone) for block in blocks)
        counted, units = tally_chunks(cohort, chain.from_iterable(parts)), everyone
    elif kind == "same_visit_pairs":
        parts = (_within(cohort.code_visit, cohort.code, block, patient_of) for block in blocks)
        counted, units = tally_chunks(cohort, chain.from_iterable(parts)), patient_of
    else:
        parts = (_sequential(cohort, block) for block in blocks)
        counted, units = tally_chunks(cohort, chain.from_iterable(parts)), patient_of[cohort.has_next]
    return {"keys": counted, "units": tally(cohort, units, np.zeros(len(units), dtype=np.int64))}


def _within(holder: Ints, code: Ints, block: Bools, patient_of: Ints) -> Iterator[tuple[Ints, Ints, Floats | None]]:
    """Yield (patient, key) of the unordered pairs of codes of one holder (a visit or a patient); holders ascend."""
    chosen = block[code]
    holder, code = holder[chosen], code[chosen]
    count = np.searchsorted(holder, holder, side="right") - np.arange(len(holder)) - 1
    owner = patient_of[holder]
    for first, second in pairs(np.arange(len(holder)) + 1, count):
        yield owner[first], code[first] * len(block) + code[second], None


def _sequential(cohort: Cohort, block: Bools) -> Iterator[tuple[Ints, Ints, Floats | None]]:
    """Yield (patient, key) of the ordered pairs of a code of a visit and a code of the patient's next visit."""
    chosen = block[cohort.code]
    visit, code = cohort.code_visit[chosen], cohort.code[chosen]
    offsets = np.searchsorted(visit, np.arange(cohort.n_visits + 1))
    continues = cohort.has_next[visit]
    following = np.where(continues, visit + 1, visit)
    count = np.where(continues, np.diff(offsets)[following], 0)
    owner = cohort.visit_patient[visit]
    for first, second in pairs(offsets[following], count):
        yield owner[first], code[first] * len(block) + code[second], None


def _scorer(kind: str, vocabulary: Vocabulary, blocks: list[Bools], keys: Keys, reference: Totals) -> Scorer:
    key, n_codes = keys["keys"], vocabulary.n_codes
    codes = (key,) if kind in ("unigram", "ever") else (key // n_codes, key % n_codes)
    groups = {name: vocabulary.codes_of(name) for name in vocabulary.families}
    if sum(name in COMBINED for name in groups) > 1:
        groups["combined"] = vocabulary.codes_of(*COMBINED)
    scores: dict[str, Score] = {}
    chosen: dict[str, tuple[Ints, Ints, Ints]] = {}
    counts = reference["keys"]
    for name, codes_of in groups.items():
        mine = np.flatnonzero(np.logical_and.reduce([codes_of[part] for part in codes]))
        common = mine[counts[mine] >= FEWEST]
        chosen[name] = (mine, common, mine[counts[mine] <= _median_occurrence(counts[mine])])
        title = f"{name}: {_KINDS[kind]}"
        low, detail = float("-inf"), name not in ("condition", "combined")
        base = f"codes.{name}.{kind}"
        reason = f"fewer than two {_KINDS[kind]}"
        few = f"fewer than two {_KINDS[kind]} seen {FEWEST} times in the reference"
        scores[f"{base}.r2"] = Score(title=f"{title}, R2", better="higher", low=low, reason=reason)
        scores[f"{base}.log_r2"] = Score(
            title=f"{title}, log-scale R2", better="higher", low=low, detail=detail, reason=few
        )
        scores[f"{base}.rare_r2"] = Score(
            title=f"{title} below the median frequency, R2", better="higher", low=low, detail=detail, reason=reason
        )
        if len(codes) == 2:
            scores[f"{base}.unseen"] = Score(title=f"{title}, share never seen", detail=True)

    n_kept = int(np.logical_or.reduce(blocks).sum())
    few_codes = f" among the {n_kept:,} commonest codes" if n_kept < n_codes else ""

    def compare(a: Totals, b: Totals) -> dict[str, float]:
        units_a, units_b = float(a["units"].sum()), float(b["units"].sum())
        real, other = a["keys"] / max(units_a, 1.0), b["keys"] / max(units_b, 1.0)
        seen = (real > 0) | (other > 0)
        result = {}
        for name, (mine, common, rare) in chosen.items():
            base = f"codes.{name}.{kind}"
            used = mine[seen[mine]]
            result[f"{base}.r2"] = r2(real[used], other[used])
            result[f"{base}.log_r2"] = log_r2(a["keys"][common], b["keys"][common], units_a, units_b)
            rare = rare[seen[rare]]
            result[f"{base}.rare_r2"] = r2(real[rare], other[rare])
            if len(codes) == 2:
                mass = share(other[mine])
                result[f"{base}.unseen"] = float(mass[real[mine] == 0].sum()) if len(mine) else float("nan")
        return result

    def explain(a: Totals, b: Totals) -> dict[str, str]:
        notes = {}
        for name, (mine, common, rare) in chosen.items():
            base = f"codes.{name}.{kind}"
            seen = int(((a["keys"][mine] > 0) | (b["keys"][mine] > 0)).sum())
            notes[f"{base}.r2"] = f"{seen:,} keys{few_codes if len(codes) == 2 else ''}"
            notes[f"{base}.log_r2"] = f"{len(common):,} keys"
            notes[f"{base}.rare_r2"] = f"{len(rare):,} keys"
        return notes

    return Scorer(scores=scores, compare=compare, explain=explain)


def _median_occurrence(counts: Floats) -> float:
    """Return the count of the key that the median occurrence is of."""
    ordered = np.sort(counts)
    return float(ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)]) if ordered.sum() > 0 else 0.0


def log_r2(real: Floats, other: Floats, real_units: float, other_units: float) -> float:
    """Return R2 of log10((count + 1/2) / (units + 1)); NaN for fewer than two keys."""
    return r2(np.log10((real + 0.5) / (real_units + 1.0)), np.log10((other + 0.5) / (other_units + 1.0)))
