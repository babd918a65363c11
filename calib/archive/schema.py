"""The tables of the archive's database, declared once.

Keys are natural (night, band, read, …), so two archives of the same nights hold the same rows. Check columns
derive from `calib.checks.CHECKS`.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from calib.checks import check_table

__all__ = [
    "SCHEMA_VERSION",
    "alerts",
    "cell_maps",
    "comparisons",
    "darks",
    "decisions",
    "files",
    "flats",
    "lineage",
    "meta",
    "metadata",
    "metrics",
    "products",
    "profiles",
    "runs",
    "scans",
    "sky_offsets",
    "standings",
    "states",
]

SCHEMA_VERSION = 3

metadata = MetaData()


def _checks(subject: str) -> list[Column[float]]:
    return [Column(name, Float) for name in check_table(subject) if name != "frames"]


meta = Table("meta", metadata, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False))

profiles = Table(
    "profiles",
    metadata,
    # Counted from 1; the last one is the archive's current profile.
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("name", String(40), nullable=False),
    Column("content", JSON, nullable=False),
    Column("time", String(32), nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("parent", String(64)),
    Index("profiles_hash", "hash"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("started", String(32), nullable=False),
    Column("finished", String(32)),
    Column("status", String(12), nullable=False),
    Column("code_version", String(40), nullable=False),
    Column("profile_hash", String(64), nullable=False),
    Column("summary", JSON),
)

files = Table(
    "files",
    metadata,
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("content_hash", String(64)),
    Column("status", String(12), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("obs_type", String(24)),
    Column("night", String(10)),
    Column("band", String(20)),
    Column("scan", Integer),
    Column("n_frames", Integer),
    Column("start_iso", String(32)),
    Column("start_mjd", Float),
    Column("sequence_group", JSON),
    Column("temperature_k", Float),
    Column("notes", Text, nullable=False, default=""),
    Column("rules_hash", String(64), nullable=False),
    Index("files_night", "night", "band", "obs_type"),
    Index("files_status", "status"),
)

products = Table(
    "products",
    metadata,
    Column("path", Text, primary_key=True),
    Column("kind", String(24), nullable=False),
    Column("night", String(10)),
    Column("band", String(20), nullable=False),
    Column("read", String(20)),
    Column("scan", Integer),
    Column("key", String(64), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("profile_hash", String(64), nullable=False),
    Column("code_version", String(40), nullable=False),
    Column("made", String(32), nullable=False),
    Index("products_night", "night", "band"),
)

lineage = Table(
    "lineage",
    metadata,
    Column("child", Text, primary_key=True),
    Column("parent", Text, primary_key=True),
    Column("role", String(16), primary_key=True),
    Index("lineage_parent", "parent"),
)

darks = Table(
    "darks",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("read", String(20), primary_key=True),
    Column("n_frames", Integer, nullable=False),
    Column("level_dn", Float),
    Column("noise_dn", Float),
    Column("status", String(12), nullable=False),
    Column("cause", Text, nullable=False),
    *_checks("dark"),
    Column("level_error_dn", Float),
    Column("n_hot", Integer),
    Column("n_noisy", Integer),
    Column("temperature_k", Float),
    Column("cells_dn", JSON),
    Column("diagnosis", JSON),
    Column("pixels", JSON),
    Column("standard", JSON),
    Column("period", String(10), nullable=False, default=""),
    Column("override", Boolean, nullable=False, default=False),
    Column("key", String(64), nullable=False),
    Column("verdict_key", String(64)),
    Column("profile_hash", String(64), nullable=False),
    Index("darks_band", "band", "read", "night"),
)

flats = Table(
    "flats",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("status", String(12), nullable=False),
    Column("cause", Text, nullable=False),
    Column("n_frames", Integer, nullable=False),
    *_checks("flat"),
    Column("level_max_dn", Float),
    Column("level_min_dn", Float),
    Column("n_dead", Integer),
    Column("dark_night", String(10)),
    Column("dark_age_nights", Integer),
    Column("dark_key", String(64)),
    Column("gain", JSON),
    Column("diagnosis", JSON),
    Column("pixels", JSON),
    Column("standard", JSON),
    Column("members", JSON),
    Column("overtaken", Boolean, nullable=False, default=False),
    Column("origin", String(12), nullable=False, default=""),
    Column("canonical_key", String(64)),
    Column("period", String(10), nullable=False, default=""),
    Column("override", Boolean, nullable=False, default=False),
    Column("key", String(64), nullable=False),
    Column("verdict_key", String(64)),
    Column("profile_hash", String(64), nullable=False),
    Index("flats_band", "band", "night"),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("outcome", JSON, nullable=False),
)

scans = Table(
    "scans",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("scan", Integer, primary_key=True),
    Column("read", String(20), primary_key=True),
    Column("status", String(20), nullable=False),
    Column("cause", Text, nullable=False),
    Column("n_frames", Integer, nullable=False),
    Column("n_blocks", Integer, nullable=False),
    Column("n_rejected", Integer, nullable=False),
    Column("n_substituted_frames", Integer, nullable=False),
    Column("level_dn", Float),
    Column("level_shift_dn", Float),
    Column("start_iso", String(32)),
    Column("dark_night", String(10)),
    Column("dark_age_nights", Integer),
    Column("dark_status", String(12)),
    Column("canonical_night", String(10)),
    Column("canonical_age_nights", Integer),
    Column("canonical_status", String(12)),
    Column("has_frames", Boolean, nullable=False, default=False),
    Column("stale", Text, nullable=False, default=""),
    Column("key", String(64), nullable=False),
    Column("verdict_key", String(64)),
    Column("profile_hash", String(64), nullable=False),
)

sky_offsets = Table(
    "sky_offsets",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("scan", Integer, primary_key=True),
    Column("read", String(20), primary_key=True),
    Column("block", Integer, primary_key=True),
    Column("first_frame", Integer, nullable=False),
    Column("last_frame", Integer, nullable=False),
    Column("n_frames", Integer, nullable=False),
    Column("status", String(12), nullable=False),
    Column("cause", Text, nullable=False),
    Column("used_block", Integer, nullable=False),
    Column("level_dn", Float),
    *_checks("sky_offset"),
    Column("cells_dn", JSON),
    Column("cell_error_dn", Float),
    Column("override", Boolean, nullable=False, default=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("product", String(24), primary_key=True),
    Column("region", String(8), primary_key=True),
    Column("metric", String(24), primary_key=True),
    Column("value", Float),
    Column("error", Float),
    Column("unit", String(12), nullable=False),
    Column("key", String(64), nullable=False),
    Index("metrics_trend", "band", "product", "metric", "region", "night"),
)

cell_maps = Table(
    "cell_maps",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("product", String(24), primary_key=True),
    Column("cells", JSON, nullable=False),
    Column("error", Float),
    Column("unit", String(12), nullable=False),
    Column("key", String(64), nullable=False),
    Index("cell_maps_series", "band", "product", "night"),
)

states = Table(
    "states",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("product", String(24), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("cause", Text, nullable=False),
    Column("region", String(16), nullable=False),
    Column("value", Float),
    Column("error", Float),
    Column("unit", String(12), nullable=False),
    Column("significance", Float),
    Column("since", String(10)),
    Index("states_series", "band", "product", "night"),
)

standings = Table(
    "standings",
    metadata,
    Column("band", String(20), primary_key=True),
    Column("product", String(24), primary_key=True),
    Column("period", String(10), primary_key=True),
    Column("key", String(64), nullable=False),
    Column("content", Text, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("night", String(10), primary_key=True),
    Column("band", String(20), primary_key=True),
    Column("product", String(24), primary_key=True),
    Column("region", String(16), primary_key=True),
    Column("metric", String(24), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("value", Float),
    Column("limit", Float),
    Column("unit", String(12), nullable=False),
    Column("text", Text, nullable=False),
    Column("cause", Text, nullable=False, default=""),
    Column("error", Float),
    Column("significance", Float),
    Column("since", String(10)),
    Column("last_night", String(10)),
    Column("over", Boolean, nullable=False, default=False),
    Column("forecast_nights", Float),
    Column("scans", JSON),
    Column("effect_mmag", Float),
    Column("proposal", String(10)),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", String(32), nullable=False),
    Column("who", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("night", String(10), nullable=False),
    Column("band", String(20)),
    Column("product", String(24)),
    Column("read", String(20)),
    Column("scan", Integer),
    Column("block", Integer),
    Column("region", String(16)),
    Column("metric", String(24)),
    Column("value", Text),
    Column("reason", Text, nullable=False),
    Column("expires", String(10)),
    Column("digest", String(64)),
    Column("undoes", Integer),
)
