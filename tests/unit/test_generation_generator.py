"""The generator as others see it: blocks, cuts, shared tables, provenance, refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import ModuleType

import numpy as np
import pytest

from ehrsynth.errors import ModelError, UsageError
from ehrsynth.generation import Generator
from ehrsynth.randomness import BLOCK_SIZE
from ehrsynth.records import Records


@pytest.fixture(scope="module")
def generator(models: ModuleType) -> Generator:
    return Generator(models.tiny_model(), seed=4)


@pytest.mark.parametrize("n", [1, 2, 77, 1023])
def test_the_first_patients_are_the_same_for_every_number_of_them(generator: Generator, n: int) -> None:
    whole, cut = generator.block(0), generator.block(0, n)
    assert whole.n_patients == BLOCK_SIZE
    assert cut.n_patients == n
    first = whole.head(n)
    for name in whole:
        assert cut[name].equals(first[name]), name


def test_blocks_are_different_people(generator: Generator) -> None:
    one, two = generator.block(0), generator.block(1)
    for table in one.schema.tables:
        if table.has_patient and one[table.name].num_rows:
            ids = [part[table.name][table.primary_key].to_pylist() for part in (one, two)]
            assert not set(ids[0]) & set(ids[1])
    assert not one["patient"]["birth_date"].equals(two["patient"]["birth_date"])


def test_blocks_of_a_population_add_up(generator: Generator) -> None:
    parts = list(generator.blocks(BLOCK_SIZE + 10))
    assert [part.n_patients for part in parts] == [BLOCK_SIZE, 10]
    together = Records.concat(parts)
    assert together.n_patients == BLOCK_SIZE + 10


def test_shared_tables_belong_to_nobody_and_blocks_refer_to_them(generator: Generator) -> None:
    shared, block = generator.shared(), generator.block(2, 200)
    for table in shared.schema.tables:
        assert bool(shared[table.name].num_rows) == table.shared, table.name
        assert not (table.shared and block[table.name].num_rows)
    tables = {t.name: shared[t.name] if t.shared else block[t.name] for t in shared.schema.tables}
    assert Records(tables=tables, schema=shared.schema, provenance=block.provenance).check_keys() == []


def test_states_of_the_network_are_where_people_live(generator: Generator) -> None:
    block = generator.block(0)
    assert set(block["patient"]["state"].to_pylist()) == {"MA", "TX"}
    assert set(generator.shared()["organization"]["state"].to_pylist()) == {"MA", "TX"}


def test_people_without_a_payer_have_no_coverage(generator: Generator) -> None:
    block = generator.block(0)
    covered = set(block["coverage"]["patient_id"].to_pylist())
    members = block["coverage"]["member_id"].to_pylist()
    assert len(set(members)) == len(members)
    assert all(len(member) == 10 and member.isdigit() for member in members)
    assert 0.85 < len(covered) / BLOCK_SIZE < 0.95
    for row in block["encounter"].select(["patient_id", "coverage_id"]).to_pylist():
        assert (row["coverage_id"] is not None) == (row["patient_id"] in covered)


def test_self_payers_have_no_coverage(models: ModuleType) -> None:
    model = models.tiny_model()
    number = model.person.index("payer")
    variables = list(model.person.variables)
    variables[number] = replace(variables[number], states=("81", "2", "5", "missing"))
    person = replace(model.person, variables=tuple(variables))
    generator = Generator(replace(model, person=person), seed=4, evidence={"payer": "81"})
    assert generator.block(0)["coverage"].num_rows == 0


def test_nothing_happens_after_the_reference_date(models: ModuleType) -> None:
    generator = Generator(models.tiny_model(), seed=4, reference_date=date(2020, 2, 29))
    assert generator.reference_date == date(2020, 2, 29)
    block = generator.block(0)
    last = max(end.date() for end in block["encounter"]["end_datetime"].to_pylist() if end is not None)
    assert last <= date(2020, 2, 29)
    assert max(block["patient"]["record_end_date"].to_pylist()) == date(2020, 2, 29)
    default = Generator(models.tiny_model(), seed=4)
    assert default.reference_date == date(2024, 6, 30)
    shift = np.timedelta64((default.reference_date - generator.reference_date).days, "D")
    births = [part["patient"]["birth_date"].to_numpy() for part in (default.block(0), block)]
    assert (births[0] - births[1] == shift).all()


def test_without_dates_the_ages_are_kept_by_the_day_the_record_begins(models: ModuleType) -> None:
    model = models.tiny_model()
    ordered = replace(model, calendar=replace(model.calendar, basis="order"))
    dated, undated = (Generator(one, seed=3).block(0, 300) for one in (model, ordered))
    encounter = undated["encounter"]
    assert encounter["start_datetime"].null_count == encounter.num_rows > 0
    for name in ("birth_date", "record_start_date"):
        assert undated["patient"][name].null_count == 0
        assert undated["patient"][name].equals(dated["patient"][name])
    assert undated["patient"]["record_end_date"].null_count == 300


def test_provenance_says_what_it_is(generator: Generator) -> None:
    provenance = generator.block(0, 1).provenance
    assert provenance.synthetic
    assert provenance.time_basis == "calendar"
    assert provenance.details == {"model": "tiny", "seed": 4, "reference_date": "2024-06-30"}


def test_evidence_reaches_the_patients(models: ModuleType) -> None:
    generator = Generator(models.tiny_model(), seed=4, evidence={"sex": "female", "state": "TX"})
    patients = generator.block(0)["patient"]
    assert set(patients["sex"].to_pylist()) == {"female"}
    assert set(patients["state"].to_pylist()) == {"TX"}


@pytest.mark.parametrize(("index", "n"), [(-1, 1), (0, 0), (0, BLOCK_SIZE + 1)])
def test_blocks_that_cannot_be_are_refused(generator: Generator, index: int, n: int) -> None:
    with pytest.raises(UsageError):
        generator.block(index, n)


def test_two_families_of_one_table_are_refused(models: ModuleType) -> None:
    model = models.tiny_model()
    with pytest.raises(ModelError, match="one for each table"):
        Generator(replace(model, families=(*model.families, model.families[0])), seed=1)


def test_a_model_of_visits_alone_makes_people_and_visits(models: ModuleType) -> None:
    block = Generator(models.tiny_model(families=(), measurements=None), seed=4).block(0)
    assert block["encounter"].num_rows > BLOCK_SIZE
    assert block["condition"].num_rows == 0
    assert block["encounter"]["reason_code"].null_count == block["encounter"].num_rows


def test_a_model_without_conditions_still_has_details(models: ModuleType) -> None:
    model = models.tiny_model()
    orphans = tuple(replace(f, parent=np.full(len(f.codings), -1)) for f in model.families[1:])
    block = Generator(replace(model, families=orphans), seed=4).block(0)
    assert block["condition"].num_rows == 0
    assert block["observation"].num_rows > 0
    assert block["medication_request"]["reason_condition_id"].null_count == block["medication_request"].num_rows


def test_a_saved_model_generates_the_same(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> None:
    from ehrsynth.model.package import load, save

    path = tmp_path_factory.mktemp("model") / "tiny.ehrsynth"
    model = models.tiny_model()
    save(model, path)
    again = Generator(load(path), seed=4).block(0, 50)
    once = Generator(model, seed=4).block(0, 50)
    for name in once:
        assert once[name].equals(again[name]), name
