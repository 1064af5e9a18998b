"""The model package: what is saved comes back; what is damaged, newer, foreign or hostile is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ehrsynth.errors import ModelError, OutputError
from ehrsynth.model import PatientModel, catalogue
from ehrsynth.model.arrays import array_bytes, array_of
from ehrsynth.model.documents import Arrays, from_document, to_document
from ehrsynth.model.package import FORMAT_NUMBER, load, model_hash, save


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """Every kind of field that a model may have."""

    text: str
    number: float
    whole: int
    flag: bool
    values: np.ndarray
    labels: tuple[str, ...]
    mixed: tuple[str | float | int | bool | None, ...]
    counts: dict[str, int]
    inner: Thing | None = None


floats = st.floats(allow_nan=False)
things = st.builds(
    Thing,
    text=st.text(),
    number=floats,
    whole=st.integers(-(2**53), 2**53),
    flag=st.booleans(),
    values=hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.int8]), hnp.array_shapes(min_dims=0, max_dims=3)
    ),
    labels=st.lists(st.text()).map(tuple),
    mixed=st.lists(st.none() | st.booleans() | st.integers(-9, 9) | floats | st.text()).map(tuple),
    counts=st.dictionaries(st.text(), st.integers(0, 9)),
)


@settings(max_examples=100, deadline=None)
@given(things, st.none() | things)
def test_anything_a_model_may_hold_survives(thing: Thing, inner: Thing | None) -> None:
    thing = dataclasses.replace(thing, inner=inner)
    arrays: Arrays = {}
    document = json.loads(json.dumps(to_document(thing, arrays, "model")))
    back = from_document(Thing, document, arrays)
    for one, other in ((thing, back), (thing.inner, back.inner)):
        if one is not None:
            assert other.values.dtype == one.values.dtype
            np.testing.assert_array_equal(other.values, one.values)
            for name in ("text", "number", "whole", "flag", "labels", "mixed", "counts"):
                assert getattr(other, name) == getattr(one, name)
            assert [type(v) for v in other.mixed] == [type(v) for v in one.mixed]


@settings(max_examples=60, deadline=None)
@given(
    array=hnp.arrays(
        dtype=st.sampled_from(["<f8", ">f8", "<f4", "<i8", ">i4", "<u2", "|u1", "|i1", "|b1"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_an_array_is_read_as_numpy_reads_it(array: np.ndarray) -> None:
    for data in (array_bytes(array), *_saved(array), *_saved(np.asfortranarray(array))):
        found, numpys = array_of(data), np.load(io.BytesIO(data))
        assert (found.dtype, found.shape, found.flags.writeable) == (numpys.dtype, numpys.shape, True)
        np.testing.assert_array_equal(found, array)


def _saved(array: np.ndarray) -> list[bytes]:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return [buffer.getvalue()]


@pytest.mark.parametrize("cut", [4, 60, 130])
def test_an_array_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises((ValueError, EOFError)):
        array_of(array_bytes(np.arange(6.0))[:cut])


def test_infinity_survives_json() -> None:
    document = to_document((float("inf"), 1.0), {}, "x")
    assert json.loads(json.dumps(document, allow_nan=False)) == [{"$float": "inf"}, 1.0]
    assert from_document(tuple[float, ...], document, {}) == (float("inf"), 1.0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"text": 5}, "model.text is int, not str"),
        ({"whole": True}, "model.whole is bool, not int"),
        ({"surplus": 1}, "unknown field 'surplus'"),
        ({"values": {"$array": "gone"}}, "'gone', which the package does not hold"),
        ({"labels": "abc"}, "model.labels is str, not list"),
        ({"number": {"$float": "os.system"}}, "model.number is not a number"),
    ],
)
def test_a_document_of_another_shape_is_refused(document: dict[str, object], message: str) -> None:
    arrays: Arrays = {}
    thing = Thing(text="", number=0, whole=0, flag=False, values=np.zeros(1), labels=(), mixed=(), counts={})
    whole = to_document(thing, arrays, "model") | document
    with pytest.raises(ModelError, match=message.replace(".", r"\.")):
        from_document(Thing, whole, arrays)
    del whole["text"]
    with pytest.raises(ModelError):
        from_document(Thing, whole, arrays)


@pytest.fixture
def model(models: ModuleType) -> PatientModel:
    """A small model."""
    made: PatientModel = models.tiny_model()
    return made


@pytest.fixture
def packed(model: PatientModel, tmp_path: Path) -> Path:
    """The same in a file."""
    path = tmp_path / "tiny.ehrsynth"
    save(model, path)
    return path


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Change the members of a package."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_model_survives_and_its_file_is_always_the_same(model: PatientModel, packed: Path, tmp_path: Path) -> None:
    again = load(packed)
    assert model_hash(again) == model_hash(model)
    save(again, tmp_path / "again.ehrsynth")
    assert (tmp_path / "again.ehrsynth").read_bytes() == packed.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] != []
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_is_a_package_too(model: PatientModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save(model, folder)
    assert model_hash(load(folder)) == model_hash(model)
    assert catalogue.open_model(folder).name == model.name


def test_a_package_is_readable_without_us(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist()[0] == "package.json"
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".json"):
                json.loads(data)
            else:
                np.load(io.BytesIO(data), allow_pickle=False)


def test_a_truncated_file_is_refused(packed: Path) -> None:
    data = packed.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 5):
        packed.write_bytes(data[:size])
        with pytest.raises(ModelError, match="not a whole zip"):
            load(packed)


def test_a_damaged_member_is_refused(packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        member = archive.getinfo("families.json")
    # In what the member holds: the times in its header mean nothing.
    data[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 0xFF
    packed.write_bytes(bytes(data))
    with pytest.raises(ModelError):
        load(packed)


def test_an_altered_member_is_refused(packed: Path) -> None:
    rewrite(packed, lambda members: members.update({"calendar.json": members["calendar.json"] + b" "}))
    with pytest.raises(ModelError, match=r"calendar\.json was altered"):
        load(packed)


def test_a_missing_member_is_refused(packed: Path) -> None:
    rewrite(packed, lambda members: members.pop("trajectory.json"))
    with pytest.raises(ModelError, match=r"lacks trajectory\.json"):
        load(packed)


def test_a_newer_format_is_refused(packed: Path) -> None:
    def newer(members: dict[str, bytes]) -> None:
        index = json.loads(members["package.json"])
        index["format_number"] = FORMAT_NUMBER + 1
        members["package.json"] = json.dumps(index).encode()

    with pytest.raises(ModelError, match=f"format {FORMAT_NUMBER + 1}") as caught:
        load(rewrite(packed, newer))
    assert "upgrade" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/evil.json", "arrays\\..\\evil", "C:evil.json"])
def test_a_zip_that_climbs_out_is_refused(packed: Path, name: str) -> None:
    rewrite(packed, lambda members: members.update({name: b"{}"}))
    with pytest.raises(ModelError, match="climbs out"):
        load(packed)


def test_a_pickle_inside_is_refused(packed: Path) -> None:
    def pickled(members: dict[str, bytes]) -> None:
        import hashlib

        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        name = next(name for name in members if name.startswith("arrays/"))
        index = json.loads(members["package.json"])
        members[name] = buffer.getvalue()
        index["members"][name] = hashlib.sha256(buffer.getvalue()).hexdigest()
        members["package.json"] = json.dumps(index).encode()

    with pytest.raises(ModelError, match="not a numpy array"):
        load(rewrite(packed, pickled))


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(ModelError, match="not a model package"):
        load(other)
    with pytest.raises(ModelError, match="no such model file"):
        load(tmp_path / "none.ehrsynth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="not a model package"):
        load(tmp_path / "empty")


def test_an_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(ModelError, match="no model 'cardiometabolic'") as caught:
        catalogue.open_model("cardiometabolic")
    assert "cardiometabolic_cohort" in (caught.value.hint or "")


def test_a_place_that_cannot_be_written_is_an_output_error(model: PatientModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        save(model, tmp_path / "file" / "model.ehrsynth")


@pytest.mark.parametrize("name", ["us_ambulatory", "cardiometabolic_cohort"])
def test_the_hash_of_a_loaded_model_is_that_of_its_content(name: str, tmp_path: Path) -> None:
    model = catalogue.open_model(name)
    # A copy knows nothing of the file: its documents and arrays are written again.
    copy = dataclasses.replace(model)
    assert model_hash(model) == model_hash(copy)
    assert model_hash(dataclasses.replace(model, title="Another")) != model_hash(model)
    save(copy, tmp_path / "again.ehrsynth")
    assert model_hash(load(tmp_path / "again.ehrsynth")) == model_hash(model)
