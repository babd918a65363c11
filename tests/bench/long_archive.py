"""An archive of many nights, made cheaply: the nights of a short one again and again, at earlier dates.

Raw files and products are there under the names of the earlier dates (as links), and so are all rows that a run reads.
What depends on the order of nights is worked out by the next run.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pandas as pd

from calib.night import combine_key
from tests.small_camera import run, survey_of, write_raw

BANDS = ("J", "H", "Ks")
# Nights of the short archive that have a scan.
SCANS = {9: 1, 19: 1}
TABLES = ("files", "products", "lineage", "darks", "flats", "scans", "sky_offsets", "metrics", "cell_maps")
DATES = ("night", "dark_night", "canonical_night")
TEXTS = ("path", "child", "parent", "standard", "members")


def short_archive(top: Path, nights: int = 30) -> tuple[Path, Path, Path]:
    """Calibrate some nights of a small camera; return archive, raw folder, and the raw folder of one more night."""
    survey = survey_of(nights + 1, scans={**SCANS, nights: 1})
    raw = write_raw(survey, top / "raw", bands=BANDS, nights=range(nights))
    one_more = write_raw(survey, top / "one-more", bands=BANDS, nights=[nights])
    run(top / "archive", raw)
    return top / "archive", raw, one_more


def lengthen(archive: Path, raw: Path, to: Path, times: int) -> tuple[Path, Path]:
    """Return archive and raw folder with the nights of another so many times over."""
    long, long_raw = to / "archive", to / "raw"
    shutil.copytree(archive, long, copy_function=_link)
    shutil.copytree(raw, long_raw, copy_function=_link)
    with sqlite3.connect(long / "archive.sqlite") as connection:
        connection.execute("UPDATE files SET path = replace(path, ?, ?)", (str(raw), str(long_raw)))
        connection.execute("UPDATE lineage SET parent = replace(parent, ?, ?)", (str(raw), str(long_raw)))
        tables = {name: pd.read_sql(f"SELECT * FROM {name}", connection) for name in TABLES}
        nights = sorted(tables["flats"]["night"].unique())
        first, last = (dt.date.fromisoformat(n) for n in (nights[0], nights[-1]))
        for k in range(1, times):
            earlier = {n: _before(n, k * ((last - first).days + 1)) for n in nights}
            for name, rows in tables.items():
                if name == "products":
                    rows = rows[rows["night"].notna()]
                if name == "lineage":
                    rows = rows[rows["child"].str.startswith("nights/")]
                _moved(rows, earlier).to_sql(name, connection, if_exists="append", index=False)
        connection.execute("DELETE FROM meta WHERE name = 'settled'")
        _link_all(connection, long, tables["products"], nights, times)
    connection.close()
    return long, long_raw


def widen(archive: Path, scans: int) -> int:
    """Give every night rows of so many scans, as a survey has them; return how many rows of scans there are.

    They are those of the last scan over and over, and no files lie behind them: nothing that settles verdicts, charts
    or alerts reads those.
    """
    with sqlite3.connect(archive / "archive.sqlite") as connection:
        (night,) = connection.execute("SELECT max(night) FROM scans").fetchone()
        connection.execute("CREATE TEMP TABLE numbers (scan INT)")
        connection.executemany("INSERT INTO numbers VALUES (?)", [(k,) for k in range(2, scans + 2)])
        for table in ("scans", "sky_offsets"):
            names = [r[1] for r in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join({"night": "n.night", "scan": "k.scan"}.get(name, f"s.{name}") for name in names)
            connection.execute(
                f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} s, numbers k, "
                "(SELECT DISTINCT night FROM flats) n WHERE s.night = ? AND s.scan = 1",
                (night,),
            )
        connection.execute("DELETE FROM cell_maps WHERE product = 'sky offsets'")
        (rows,) = connection.execute("SELECT count(*) FROM scans").fetchone()
    connection.close()
    return int(rows)


def _before(night: str, days: int) -> str:
    return (dt.date.fromisoformat(night) - dt.timedelta(days=days)).isoformat()


def _moved(rows: pd.DataFrame, earlier: dict[str, str]) -> pd.DataFrame:
    rows = rows.copy()
    for column in (c for c in DATES if c in rows.columns):
        rows[column] = rows[column].map(earlier).where(rows[column].notna(), None)
    for column in (c for c in TEXTS if c in rows.columns):
        for night, date in earlier.items():
            rows[column] = rows[column].str.replace(night, date, regex=False)
    if "members" in rows:
        keys = dict(zip(rows["night"] + rows["band"], rows["key"], strict=True))
        members = [(r.night, [keys[m + r.band] for m in json.loads(r.members)]) for r in rows.itertuples()]
        rows["canonical_key"] = [combine_key("canonical", night, *found) if found else None for night, found in members]
    if "start_mjd" in rows:
        night, date = next(iter(earlier.items()))
        rows["start_mjd"] -= (dt.date.fromisoformat(night) - dt.date.fromisoformat(date)).days
    return rows


def _link_all(
    connection: sqlite3.Connection, archive: Path, products: pd.DataFrame, nights: list[str], times: int
) -> None:
    """Link every file that a row of an earlier date names to the one it stands for."""
    span = (dt.date.fromisoformat(nights[-1]) - dt.date.fromisoformat(nights[0])).days + 1
    known = [archive / p for p in products["path"][products["night"].notna()]]
    known += [Path(p) for (p,) in connection.execute("SELECT path FROM files WHERE night >= ?", (nights[0],))]
    for path in known:
        night = next(n for n in nights if n in str(path))
        for k in range(1, times):
            copy = Path(str(path).replace(night, _before(night, k * span)))
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)


def _link(source: str, target: str) -> None:
    if Path(source).name in ("archive.sqlite", ".lock"):
        shutil.copy2(source, target)
    else:
        os.link(source, target)
