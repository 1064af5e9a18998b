"""From rows of resources to linked tables: references resolved, sides joined, values checked, rows in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrsynth.readers import assembly
from ehrsynth.readers.account import is_true, positions
from ehrsynth.readers.fhir_account import FhirAccount, Places
from ehrsynth.readers.fhir_columns import FhirTable, Rows, filled, text_of
from ehrsynth.readers.fhir_references import UNRESOLVED, Identifiers
from ehrsynth.readers.part_keys import PartKeys
from ehrsynth.schema import TableSchema, clinical

__all__ = ["Assembly"]

Mask = npt.NDArray[np.bool_]

_NUMBER_BITS = 32
"""A place is one number: its file, and the line or entry in these last bits."""


class Assembly:
    """Makes tables of what was collected.

    Parameters
    ----------
    collected : Rows
    identifiers : Identifiers
        For conditional and logical references.
    gone : mapping of resource type to keys
        Resources that were set aside: a reference to them does not lead nowhere.
    account : FhirAccount
    keys : PartKeys, optional
        Where the keys go, if these are a part of the patients.
    payer_types : mapping of payer to text, optional
        What is known of payers from all parts.
    """

    def __init__(
        self,
        collected: Rows,
        identifiers: Identifiers,
        gone: Mapping[str, Sequence[str]],
        account: FhirAccount,
        *,
        keys: PartKeys | None = None,
        payer_types: Mapping[str, str] | None = None,
    ) -> None:
        self._collected, self._identifiers, self._account = collected, identifiers, account
        self._keys, self._payer_types = keys, payer_types
        self._gone = {kind: pa.array(keys, pa.string()) for kind, keys in gone.items()}
        self._taken: dict[str, pa.Array] = {}
        self._all: dict[str, pa.Array] = {}
        self._practitioner_of_role: dict[str, str] = {}
        self._done: dict[str, FhirTable] = {}

    def tables(self) -> dict[str, pa.Table]:
        """Return the canonical tables, referenced ones first."""
        panels = self._collected.table("panel")
        for schema in clinical().tables:
            if schema.name == "payer":
                continue
            rows = self._unique(self._collected.table(schema.name), schema.primary_key, schema.shared)
            if schema.name == "practitioner":
                self._all["Practitioner"] = rows["practitioner_id"]
                rows = self._with_roles(rows)
            elif schema.name == "medication_request":
                rows = self._with_medications(rows)
            elif schema.name == "observation":
                rows = self._with_panels(rows, panels)
            elif schema.name == "condition":
                rows = self._with_ranks(rows)
            elif schema.name == "patient":
                rows = self._with_causes(rows)
            rows = self._checked(rows, schema)
            kind = rows.kind
            # Keys of before the check: what leads to a row that was refused does not lead nowhere.
            for key in schema.foreign_keys:
                rows = self._linked(rows, schema, key.column, key.reference_table)
            self._taken[kind] = rows[schema.primary_key]
            self._done[schema.name] = self._ordered(rows, schema)
        self._part_payers()
        return {table.name: self._done[table.name].columns.select(table.names) for table in clinical().tables}

    # -- keys --------------------------------------------------------------------------------------------------------

    def _unique(self, rows: FhirTable, key: str, shared: bool) -> FhirTable:
        """The rows without those whose key an earlier one has, and note of all the keys there are."""
        keys = rows[key]
        gone = self._gone.get(rows.kind)
        self._all[rows.kind] = keys if gone is None else pa.concat_arrays([keys, gone])
        distinct = keys.dictionary_encode()
        if len(distinct.dictionary) == len(rows):
            return rows if shared else self._once(rows, key)
        first = np.full(len(distinct.dictionary), len(rows), dtype=np.int64)
        codes = distinct.indices.to_numpy()
        np.minimum.at(first, codes, np.arange(len(rows)))
        again = first[codes] != np.arange(len(rows))
        if shared:
            self._account.set_rows_aside(rows.kind, rows.places(again), reason="there already")
        else:
            _refuse_again(self._account, rows.kind, rows.places(again), keys[int(np.argmax(again))].as_py())
        rows = rows.keep(~again)
        return rows if shared else self._once(rows, key)

    def _once(self, rows: FhirTable, key: str) -> FhirTable:
        """The rows without those whose key another part of the patients has before them."""
        if self._keys is None:
            return rows
        file, number = rows.places(np.ones(len(rows), dtype=bool))
        account, kind = self._account, rows.kind

        def refuse(place: int, key: str) -> None:
            where = (np.array([place >> _NUMBER_BITS]), np.array([place & ((1 << _NUMBER_BITS) - 1)]))
            _refuse_again(account, kind, where, key)

        again = self._keys.repeated(kind, rows.name, rows[key], (file << _NUMBER_BITS) + number, refuse)
        if again.any():
            _refuse_again(account, kind, rows.places(again), rows[key][int(np.argmax(again))].as_py())
        return rows.keep(~again)

    # -- what stands in other resources ------------------------------------------------------------------------------

    def _with_roles(self, rows: FhirTable) -> FhirTable:
        """Practitioners with what the first of their roles says."""
        roles = self._collected.table("role")
        roles = roles.keep(~_again(roles["role_id"]))
        self._all["PractitionerRole"] = roles["role_id"]
        roles = roles.with_column("practitioner_id", self.resolved(roles["practitioner_id"], "Practitioner"))
        at = positions(pa.chunked_array([roles["practitioner_id"]]), rows["practitioner_id"])
        lost = at < 0
        if len(rows) and lost.any():
            self._account.refuse_rows(
                roles.kind,
                roles.places(lost),
                problem=f"The role's practitioner {_shown(roles['practitioner_id'], lost)!r} is not in the source.",
                reason="reference to nowhere",
                element="practitioner",
            )
        roles, at = roles.keep(~lost), at[~lost]
        self._practitioner_of_role = dict(
            zip(roles["role_id"].to_pylist(), roles["practitioner_id"].to_pylist(), strict=True)
        )
        for column in ("organization_id", "specialty_code", "specialty_display", "phone", "email"):
            rows = filled(rows, column, at, roles[column])
        return rows

    def _with_medications(self, rows: FhirTable) -> FhirTable:
        """Orders with the code of the Medication that they refer to."""
        drugs = self._collected.table("medication")
        drugs = drugs.keep(~_again(drugs["medication_id"]))
        gone = self._gone.get("Medication", pa.array([], pa.string()))
        self._all["Medication"] = pa.concat_arrays([drugs["medication_id"], gone])
        names = self.resolved(rows["_medication"], "Medication")
        at = positions(pa.chunked_array([names]), drugs["medication_id"])
        asked = is_true(pc.is_valid(names))
        uncoded = asked & is_true(pc.is_in(names, value_set=gone))
        lost = asked & (at < 0) & ~uncoded
        self._account.refuse_rows(
            rows.kind,
            rows.places(lost),
            problem=f"The medication {_shown(names, lost)!r} is not in the source.",
            reason="reference to nowhere",
            element="medicationReference",
        )
        self._account.set_rows_aside(
            rows.kind, rows.places(uncoded), reason="its Medication was set aside", element="medicationReference"
        )
        index = pa.array(at, mask=at < 0)
        for column in ("code_system", "code", "display"):
            values = pc.coalesce(text_of(rows[column]), text_of(drugs[column]).take(index))
            rows = rows.with_column(column, values.dictionary_encode())
        return rows.keep(~lost & ~uncoded)

    def _with_panels(self, rows: FhirTable, panels: FhirTable) -> FhirTable:
        """Observations with the key of the panel or report that names them; the first that does."""
        names = self.resolved(panels["observation_id"], "Observation")
        at = positions(pa.chunked_array([names]), rows["observation_id"])
        return filled(rows, "panel_id", at, panels["panel_id"])

    def _with_ranks(self, rows: FhirTable) -> FhirTable:
        """Conditions with their rank among the diagnoses of an encounter."""
        ranks = self._collected.table("rank")
        names = self.resolved(ranks["condition_id"], "Condition")
        at = positions(pa.chunked_array([names]), rows["condition_id"])
        return filled(rows, "rank", at, ranks["rank"])

    def _with_causes(self, rows: FhirTable) -> FhirTable:
        """Patients with the cause of their death."""
        causes = self._collected.table("cause")
        names = self.resolved(causes["patient_id"], "Patient")
        at = positions(pa.chunked_array([names]), rows["patient_id"])
        for part in ("system", "code", "display"):
            rows = filled(rows, f"cause_of_death_{part}", at, causes[f"cause_of_death_{part}"])
        return rows

    # -- values ------------------------------------------------------------------------------------------------------

    def _checked(self, rows: FhirTable, schema: TableSchema) -> FhirTable:
        """The rows with values that their columns take: one that is none of a code's is wrong, others are left out."""
        for column in schema.columns:
            if column.enum:
                strange = _strange(rows[column.name], column.enum)
                if not strange.any():
                    continue
                if self._account.strict or column.required:
                    self._account.refuse_rows(
                        rows.kind,
                        rows.places(strange),
                        problem=f"{_shown(rows[column.name], strange)!r} is no {column.name} "
                        f"(one of {', '.join(column.enum)}).",
                        reason=f"{column.name} is not one of its values",
                        element=column.name,
                    )
                    rows = rows.keep(~strange)
                    continue
                rows = self._without(rows, column.name, strange, "not one of the column's values: left out")
            elif column.pattern:
                texts = text_of(rows[column.name])
                strange = is_true(pc.invert(pc.match_substring_regex(texts, column.pattern)))
                rows = self._without(rows, column.name, strange, "not of the column's form: left out")
            elif column.unique and column.name != schema.primary_key:
                rows = self._without(rows, column.name, _again(rows[column.name]), "another has it too: left out")
            elif column.minimum is not None:
                low = is_true(pc.less(rows[column.name], column.minimum))
                rows = self._without(rows, column.name, low, "less than can be: left out")
        return rows

    def _without(self, rows: FhirTable, column: str, mask: Mask, what: str) -> FhirTable:
        if not mask.any():
            return rows
        self._account.adjust_rows(rows.kind, rows.places(mask), what=what, element=column)
        values = rows[column]
        kind = values.type
        blank = pc.if_else(pa.array(mask), pa.scalar(None, text_of(values).type), text_of(values))
        return rows.with_column(column, blank.dictionary_encode() if pa.types.is_dictionary(kind) else blank)

    # -- references --------------------------------------------------------------------------------------------------

    def _linked(self, rows: FhirTable, schema: TableSchema, column: str, table: str) -> FhirTable:
        """The rows with the references of a column resolved; what leads nowhere is refused, or left out."""
        kind = "Organization" if table == "payer" else FhirTable(name=table, columns=pa.table({})).kind
        values = self.resolved(rows[column], kind)
        rows = rows.with_column(column, values)
        taken, there = self._taken[kind], self._all[kind]
        lost = is_true(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=taken))))
        if not lost.any():
            return rows
        required, had = schema[column].required, is_true(pc.is_in(values, value_set=there))
        needed = required or table == "encounter"
        if not len(there) and not required:
            return self._without(rows, column, lost, f"the source has no {kind}: reference left out")
        if (lost & had).any():
            if needed:
                self._account.set_rows_aside(
                    rows.kind, rows.places(lost & had), reason=f"its {kind} was set aside", element=column
                )
            else:
                rows = self._without(rows, column, lost & had, f"its {kind} was set aside: reference left out")
        nowhere = lost & ~had
        if nowhere.any() and (needed or self._account.strict):
            self._account.refuse_rows(
                rows.kind,
                rows.places(nowhere),
                problem=f"The reference to {kind} {_shown(values, nowhere)!r} leads nowhere.",
                reason="reference to nowhere",
                element=column,
            )
        elif nowhere.any():
            rows = self._without(rows, column, nowhere, "reference to nowhere: left out")
        return rows.keep(~lost) if needed else rows

    def knows(self, kind: str, keys: pa.Array) -> None:
        """Take note of the keys of all resources of a type."""
        self._all[kind] = keys

    def has(self, kind: str) -> bool:
        """Whether the keys of the resources of a type are known."""
        return kind in self._all

    def resolved(self, values: pa.Array, kind: str) -> pa.Array:
        """Return the keys with those that had to wait looked up: identifiers, roles, URNs of other Bundles."""
        waiting = pc.fill_null(pc.starts_with(values, UNRESOLVED), False)
        if not pc.any(waiting).as_py():
            return values
        encoded = values.filter(waiting).dictionary_encode()
        known = self._all.get(kind)
        found = pa.array([self._found(name, kind, known) for name in encoded.dictionary.to_pylist()], pa.string())
        return pc.replace_with_mask(values, waiting, found.take(encoded.indices))

    def _found(self, name: str, kind: str, known: pa.Array | None) -> str | None:
        """The key that an unresolved name leads to, None if it is not for this column, itself if it leads nowhere."""
        text = name[1:]
        if text.startswith("urn:"):
            ident = text.rpartition(":")[2]
            if known is not None and pc.is_in(pa.scalar(ident), value_set=known).as_py():
                return ident
            return self._practitioner_of_role.get(ident, name) if kind == "Practitioner" else name
        full = self._identifiers.find(text) if "?" in text else text
        if full is None:
            return name
        found, _, ident = full.partition("/")
        if found == kind:
            return ident
        if found == "PractitionerRole":
            return self._practitioner_of_role.get(ident, name)
        return None

    # -- order and payers --------------------------------------------------------------------------------------------

    def _ordered(self, rows: FhirTable, schema: TableSchema) -> FhirTable:
        if not schema.has_patient or schema.name == "patient":
            return rows
        patients = positions(pa.chunked_array([rows["patient_id"]]), self._taken["Patient"])
        if schema.name != "encounter":
            return rows.take(assembly.patient_order(patients))
        times = (pa.chunked_array([rows[name]]) for name in ("start_datetime", "end_datetime"))
        sequence = assembly.encounter_sequence(patients, *times)
        rows = rows.with_column("sequence", pa.array(sequence, pa.int64()))
        return rows.take(assembly.patient_order(patients, sequence))

    def _part_payers(self) -> None:
        """Part the organizations into those that give care and those that pay; one can be both."""
        rows, covers = self._done["organization"], self._done["coverage"]
        keys = rows["organization_id"]
        pays = is_true(rows["_payer"]) | is_true(pc.is_in(keys, value_set=covers["payer_id"]))
        cares = ~pays
        for schema in clinical().tables:
            for key in schema.foreign_keys:
                if key.reference_table == "organization" and schema.name in self._done:
                    used = self._done[schema.name][key.column]
                    cares |= is_true(pc.is_in(keys, value_set=used))
        payers, table = rows.keep(pays), clinical()["payer"]
        kinds = self._payer_kinds(covers, payers["organization_id"])
        names = {"payer_id": "organization_id"} | {
            name: name for name in table.names if name in rows.columns.column_names
        }
        columns = {name: payers[source] for name, source in names.items()}
        columns["payer_type_code"] = kinds.dictionary_encode()
        self._done["payer"] = FhirTable(name="payer", columns=pa.table(columns))
        self._done["organization"] = rows.keep(cares)

    def _payer_kinds(self, covers: FhirTable, payers: pa.Array) -> pa.Array:
        if self._payer_types is None:
            return _first_of(covers["payer_id"], text_of(covers["_payer_type"]), payers)
        return pa.array([self._payer_types.get(key) for key in payers.to_pylist()], pa.string())


def _refuse_again(account: FhirAccount, kind: str, places: Places, key: str) -> None:
    account.refuse_rows(
        kind, places, problem=f"The id {key!r} is there twice.", reason="its id is there already", element="id"
    )


def _shown(values: pa.Array, mask: Mask) -> str | None:
    """The first value of `mask`, as it stood in the source."""
    if not mask.any():
        return None
    found = values[int(np.argmax(mask))].as_py()
    return None if found is None else str(found).removeprefix(UNRESOLVED)


def _again(values: pa.Array) -> Mask:
    """Where a value stands that an earlier row has."""
    encoded = text_of(values).dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy()
    first = np.full(len(encoded.dictionary) + 1, len(codes), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    again: Mask = (codes >= 0) & (first[codes] != np.arange(len(codes)))
    return again


def _strange(values: pa.Array, enum: tuple[str, ...]) -> Mask:
    """Where a value is not among `enum`, shape (n,)."""
    wrong = pc.invert(pc.is_in(values.dictionary, value_set=pa.array(enum)))
    if not pc.any(wrong).as_py():
        return np.zeros(len(values), dtype=bool)
    return is_true(wrong.take(values.indices))


def _first_of(keys: pa.Array, values: pa.Array, wanted: pa.Array) -> pa.Array:
    """For each of `wanted` the first value that stands beside it among `keys`."""
    there = values.is_valid()
    keys, values = keys.filter(there), values.filter(there)
    return values.take(pc.index_in(wanted, value_set=keys))
