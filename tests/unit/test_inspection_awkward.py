"""Inspection of schemas that nobody tuned it on: a shop's, and a clinic's of awkward names and composite keys."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import ehrsynth
from ehrsynth.inspection import Inspection
from ehrsynth.inspection.names import is_key_name
from ehrsynth.randomness import stream

Rows = list[tuple[object, ...]]


def write(folder: Path, name: str, header: str, rows: Rows, delimiter: str = ",") -> None:
    with (folder / f"{name}.csv").open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerow(header.split("|"))
        writer.writerows(rows)


def references(found: Inspection) -> set[str]:
    return {f"{one.table}.{one.column} > {one.to_table}.{one.to_column}" for one in found.references}


def test_a_shop(tmp_path: Path) -> None:
    draw = stream(1, "tests/shop").integers
    write(tmp_path, "Artist", "ArtistId|Name", [(n, f"A{n}") for n in range(1, 31)])
    write(tmp_path, "Album", "AlbumId|Title|ArtistId", [(n, f"T{n}", int(draw(1, 31))) for n in range(1, 61)])
    write(
        tmp_path,
        "Track",
        "TrackId|Name|AlbumId|Milliseconds|UnitPrice",
        [(n, f"S{n}", int(draw(1, 61)), int(draw(10**5, 4 * 10**5)), 0.99) for n in range(1, 301)],
    )
    write(tmp_path, "Playlist", "PlaylistId|Name", [(n, f"P{n}") for n in range(1, 25)])
    pairs = sorted({(int(draw(1, 25)), int(draw(1, 301))) for _ in range(900)})
    write(tmp_path, "PlaylistTrack", "PlaylistId|TrackId", list(pairs))
    write(tmp_path, "Settings", "etl_reference|version", [("x", 1)])
    found, _ = ehrsynth.inspect(tmp_path)
    assert found.primary_keys == {
        "artist": ("artistid",),
        "album": ("albumid",),
        "track": ("trackid",),
        "playlist": ("playlistid",),
        "playlisttrack": ("playlistid", "trackid"),
    }
    assert references(found) == {
        "album.artistid > artist.artistid",
        "track.albumid > album.albumid",
        "playlisttrack.playlistid > playlist.playlistid",
        "playlisttrack.trackid > track.trackid",
    }


def test_a_clinic_of_awkward_names(tmp_path: Path) -> None:
    draw = stream(2, "tests/clinic").integers
    people = [f"PT-{n:05d}" for n in range(1, 201)]
    born = [datetime(1930, 1, 1) + timedelta(days=int(draw(0, 25_000))) for _ in people]
    write(
        tmp_path,
        "Patient Master",
        "Pt No.|DOB|Gender|Phone Number|GP Ref",
        [
            (p, f"{b:%d/%m/%Y}", "MF"[n % 2], 5550000 + n, 1 + n % 30)
            for n, (p, b) in enumerate(zip(people, born, strict=True))
        ],
    )
    write(tmp_path, "GP", "Ref|Surname", [(n, f"Doc{n}") for n in range(1, 31)])
    write(tmp_path, "wards", "Ward|Ward Name", [("W1", "Cardio"), ("W2", "Surgery"), ("W3", "ED")])
    visits: Rows = []
    for patient in people:
        for number in range(1, int(draw(2, 7))):
            arrived = datetime(2015, 1, 1) + timedelta(minutes=int(draw(0, 3_000_000)))
            visits.append((patient, number, f"{arrived:%m/%d/%Y %H:%M}", f"W{int(draw(1, 4))}"))
    write(tmp_path, "visits", "Pt No.|Visit Seq|Arrived|Ward", visits)
    codes = ["E11.9", "I10", "J45.909", "M54.50", "K21.9", "N18.30", "E78.5"]
    lines: Rows = [(*visit[:2], line, codes[int(draw(7))]) for visit in visits for line in range(1, int(draw(2, 4)))]
    write(tmp_path, "dx", "Pt No.|Visit Seq|Line|ICD", lines, ";")
    labs: Rows = []
    for n in range(600):
        day = datetime(2015, 1, 1) + timedelta(days=int(draw(0, 2000)))
        labs.append((900_000 + n, people[int(draw(200))], "2345-7", int(draw(60, 200)), "mg/dL", f"{day:%Y%m%d}"))
    write(tmp_path, "lab results", "Accession|Pt No.|Test|Value|Units|Drawn", labs)
    found, mapping = ehrsynth.inspect(tmp_path)
    assert found.primary_keys == {
        "patient master": ("pt no.",),
        "gp": ("ref",),
        "wards": ("ward",),
        "visits": ("pt no.", "visit seq"),
        "dx": ("pt no.", "visit seq", "line"),
        "lab results": ("accession",),
    }
    assert references(found) == {
        "patient master.gp ref > gp.ref",
        "visits.pt no. > patient master.pt no.",
        "visits.ward > wards.ward",
        "dx.pt no. > patient master.pt no.",
        "lab results.pt no. > patient master.pt no.",
    }
    path = tmp_path / "mapping.toml"
    path.write_text(mapping)
    records = ehrsynth.read(tmp_path, mapping=path)
    assert records["patient"]["birth_date"].to_pylist() == [one.date() for one in born]
    assert records["condition"].num_rows == len(lines)
    assert records["observation"]["effective_datetime"].null_count == 0


@pytest.mark.parametrize("name", ["pt no.", "chart #", "accession", "gp ref", "mrn", "account number", "hadm_id"])
def test_what_is_called_like_a_key(name: str) -> None:
    assert is_key_name(name)


@pytest.mark.parametrize("name", ["phone number", "piano", "seq num", "line no", "casino", "etl_reference", "fluid"])
def test_what_is_not(name: str) -> None:
    assert not is_key_name(name)
