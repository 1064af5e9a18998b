"""Parts on disk: what is written comes back, one at a time, and nothing stays behind."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehrsynth.encoding import encode
from ehrsynth.encoding.timeline import Levels
from ehrsynth.engines import frozen
from ehrsynth.engines.disk import DiskParts, shelf
from ehrsynth.errors import OutputError
from ehrsynth.learning.rows import Here


def test_what_is_written_comes_back(learning_records: ModuleType, tmp_path: Path) -> None:
    timelines = encode(learning_records.cohort(20))
    twice = np.arange(6).reshape(2, 3)
    thing: Any = {
        ("a", 1): [None, True, 2, -0.1, float("nan"), float("inf"), np.float32(0.5)],
        "arrays": (twice, twice, np.zeros((0, 4), dtype=np.float32), np.array(["å", "bb"]), twice.T),
        "table": pa.table({"x": pa.array(["a", None, "a"]).dictionary_encode(), "n": [1, 2, None]}),
        "timelines": timelines,
    }
    frozen.freeze(thing, tmp_path / "a")
    back = frozen.thaw(tmp_path / "a")
    assert list(back) == list(thing)
    assert repr(back["a", 1]) == repr([None, True, 2, -0.1, float("nan"), float("inf"), 0.5])
    for one, other in zip(back["arrays"], thing["arrays"], strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert back["arrays"][0] is back["arrays"][1]
    assert back["table"].equals(thing["table"])
    assert isinstance(back["timelines"].encounter_class, Levels)
    assert back["timelines"].families["condition"].codings == timelines.families["condition"].codings
    assert np.array_equal(back["timelines"].age_years, timelines.age_years)
    # Writing into what was read leaves the file alone.
    back["arrays"][0][:] = 9
    assert frozen.thaw(tmp_path / "a")["arrays"][0].tolist() == twice.tolist()


def test_only_our_own_is_written_and_read(tmp_path: Path) -> None:
    for number, thing in enumerate((tmp_path, np.array([object()]), lambda: 1)):
        with pytest.raises(TypeError, match="cannot be written"):
            frozen.freeze(thing, tmp_path / str(number))
    frozen.freeze(Levels(labels=("x",), index=np.zeros(1, np.int32)), tmp_path / "a")
    forged = (tmp_path / "a").read_bytes().replace(b"ehrsynth.encoding.timeline", b"collections.abc.timelineXX")
    (tmp_path / "b").write_bytes(forged)
    with pytest.raises(TypeError, match="no class of ours"):
        frozen.thaw(tmp_path / "b")


def test_parts_on_disk_are_parts_here() -> None:
    arrays = [np.arange(k, k + 3) for k in range(5)]
    with shelf() as place:
        assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
        for parts in (Here(arrays), DiskParts.of(place, iter(arrays))):
            odd = parts.map(lambda part: part if part[0] % 2 else None)
            assert [one.tolist() for one in odd.each(lambda part: part + 1)] == [[2, 3, 4], [4, 5, 6]]
            assert odd.total(np.sum) == 18
            halves = parts.regroup(lambda part: [(int(n) % 2, part[part % 2 == n % 2]) for n in part[:2]], np.hstack, 2)
            assert [np.sort(one).tolist() for one in halves.each(np.unique)] == [[0, 2, 4, 6], [1, 3, 5]]
            assert list(parts.scatter([1, None, 2]).each(lambda part: part)) == [1, 2]
            for one in (odd, halves, parts):
                one.release()
        # Those that were scattered are left.
        assert len(list(place.folder.iterdir())) == 2
    assert not place.folder.exists()


def test_the_folder_goes_also_when_work_stops() -> None:
    with pytest.raises(KeyboardInterrupt), shelf() as place:
        DiskParts.of(place, [1, 2])
        raise KeyboardInterrupt
    assert not place.folder.exists()


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(thing: object, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ehrsynth.engines.disk.freeze", full)
    with shelf() as place, pytest.raises(OutputError, match=r"no room left.*TMPDIR"):
        place.put(1)
