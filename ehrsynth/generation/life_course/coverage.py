"""Who pays: one payer before 65, most have Medicare from then on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrsynth.generation.assignment import Assignment
from ehrsynth.generation.columns import Columns, constant, date_column, id_column, labels
from ehrsynth.generation.details import BlockContext
from ehrsynth.generation.life_course.people import DAYS_PER_YEAR, Lives
from ehrsynth.generation.names import as_digits
from ehrsynth.probability.categorical import cumulative, sample_rows
from ehrsynth.randomness import identifier_bytes, stream

__all__ = ["coverages"]

Int = npt.NDArray[np.int64]

_MEMBERS = 10_000_000_000
_MEDICARE = ("1", "11", "12")
_MEDICARE_AGE = 65


def coverages(
    lives: Lives, context: BlockContext, assignment: Assignment, before: npt.NDArray[np.float64]
) -> tuple[pa.Table, npt.NDArray[np.bytes_], Int, Int]:
    """Return the coverage table, its identifiers, whose each is, and that of each encounter (-1: nobody pays).

    `before` [payers] is how people in their fifties are covered: what those on Medicare had before 65.
    """
    seed, block = context.seed, context.block
    n = len(lives)
    kinds = lives.people.labels["payer"]
    now = lives.people.states["payer"]
    earlier = sample_rows(cumulative(before), np.zeros(n, np.int64), stream(seed, "life/payer", block).random(n))
    medicare = np.isin(now, [at for at, code in enumerate(kinds) if code in _MEDICARE])
    turned = lives.birth_day + int(_MEDICARE_AGE * DAYS_PER_YEAR)
    changes = medicare & (turned < lives.last_day) & (turned > lives.first_day)
    paying = np.array([not code.startswith("8") for code in kinds])
    who = np.concatenate([np.flatnonzero(changes & paying[earlier]), np.flatnonzero(paying[now])])
    first_kind = np.concatenate([np.ones((changes & paying[earlier]).sum(), bool), np.zeros(paying[now].sum(), bool)])
    order = np.lexsort((~first_kind, who))
    who, first_kind = who[order], first_kind[order]
    text = [code if pays else None for code, pays in zip(kinds, paying, strict=True)]
    payers = (
        assignment.payers(labels(now, text), n, seed=seed, block=block),
        assignment.payers(labels(earlier, text), n, seed=seed, block=block, name="payer/earlier"),
    )
    payer = np.where(first_kind, payers[1][who], payers[0][who])
    start = np.where(first_kind | ~changes[who], lives.first_day[who], turned[who])
    end = np.where(first_kind, turned[who] - 1, lives.last_day[who])
    over = first_kind | lives.dead[who]
    ids = identifier_bytes(seed, "coverage", block, len(who))
    offset = int(stream(seed, "coverage.member").integers(_MEMBERS))
    member = as_digits(((block * n + who) * 15_485_863 + offset + first_kind * 7) % _MEMBERS, "0000000000")
    columns: Columns = {
        "coverage_id": id_column(ids),
        "patient_id": id_column(context.patient_ids, who),
        "payer_id": id_column(context.shared_ids["payer"], payer),
        "member_id": member,
        "status": labels(np.where(over, 1, 0), ["active", "cancelled"]),
        "relationship_code": constant("self", len(who)),
        "start_date": date_column(start),
        "end_date": date_column(np.where(over, np.maximum(end, start), 0), over),
    }
    visits = context.encounters.visits.patient
    day = context.encounters.start // 86_400
    row = np.full((2, n), -1, dtype=np.int64)
    row[first_kind.astype(np.int64), who] = np.arange(len(who))
    early = changes[visits] & (day < turned[visits])
    return pa.table(columns), ids, who, np.where(early, row[1, visits], row[0, visits])
