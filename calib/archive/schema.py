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

SCHEMA_VERSION = 4

# What comes from headers and profiles may be longer than anybody thought, and scans may be numbered beyond 32 bits:
# SQLite checks neither. Text is in the order of its code points in both databases, whatever the server's language.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
ID = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()


def _checks(subject: str) -> list[Column[float]]:
    return [Column(name, Float) for name in check_table(subject) if name != "frames"]


meta = Table("meta", metadata, Column("name", TEXT, primary_key=True), Column("value", TEXT, nullable=False))

profiles = Table(
    "profiles",
    metadata,
    # Counted from 1; the last one is the archive's current profile.
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("content", JSON, nullable=False),
    Column("time", TEXT, nullable=False),
    Column("who", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("parent", TEXT),
    Index("profiles_hash", "hash"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("started", TEXT, nullable=False),
    Column("finished", TEXT),
    Column("status", TEXT, nullable=False),
    Column("code_version", TEXT, nullable=False),
    Column("profile_hash", TEXT, nullable=False),
    Column("summary", JSON),
)

files = Table(
    "files",
    metadata,
    Column("path", TEXT, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("content_hash", TEXT),
    Column("status", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False, default=""),
    Column("obs_type", TEXT),
    Column("night", TEXT),
    Column("band", TEXT),
    Column("scan", BigInteger),
    Column("n_frames", BigInteger),
    Column("start_iso", TEXT),
    Column("start_mjd", Float),
    Column("sequence_group", JSON),
    Column("temperature_k", Float),
    Column("notes", TEXT, nullable=False, default=""),
    Column("rules_hash", TEXT, nullable=False),
    Index("files_night", "night", "band", "obs_type"),
    Index("files_status", "status"),
)

products = Table(
    "products",
    metadata,
    Column("path", TEXT, primary_key=True),
    Column("kind", TEXT, nullable=False),
    Column("night", TEXT),
    Column("band", TEXT, nullable=False),
    Column("read", TEXT),
    Column("scan", BigInteger),
    Column("key", TEXT, nullable=False),
    Column("content_hash", TEXT, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("profile_hash", TEXT, nullable=False),
    Column("code_version", TEXT, nullable=False),
    Column("made", TEXT, nullable=False),
    Index("products_night", "night", "band"),
    Index("products_made", "made"),
)

lineage = Table(
    "lineage",
    metadata,
    Column("child", TEXT, primary_key=True),
    Column("parent", TEXT, primary_key=True),
    Column("role", TEXT, primary_key=True),
    Index("lineage_parent", "parent"),
)

darks = Table(
    "darks",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("read", TEXT, primary_key=True),
    Column("n_frames", BigInteger, nullable=False),
    Column("level_dn", Float),
    Column("noise_dn", Float),
    Column("status", TEXT, nullable=False),
    Column("cause", TEXT, nullable=False),
    *_checks("dark"),
    Column("level_error_dn", Float),
    Column("n_hot", BigInteger),
    Column("n_noisy", BigInteger),
    Column("temperature_k", Float),
    Column("cells_dn", JSON),
    Column("diagnosis", JSON),
    Column("pixels", JSON),
    Column("standard", JSON),
    Column("period", TEXT, nullable=False, default=""),
    Column("override", Boolean, nullable=False, default=False),
    Column("key", TEXT, nullable=False),
    Column("verdict_key", TEXT),
    Column("profile_hash", TEXT, nullable=False),
    Index("darks_band", "band", "read", "night"),
)

flats = Table(
    "flats",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("status", TEXT, nullable=False),
    Column("cause", TEXT, nullable=False),
    Column("n_frames", BigInteger, nullable=False),
    *_checks("flat"),
    Column("level_max_dn", Float),
    Column("level_min_dn", Float),
    Column("n_dead", BigInteger),
    Column("dark_night", TEXT),
    Column("dark_age_nights", BigInteger),
    Column("dark_key", TEXT),
    Column("gain", JSON),
    Column("diagnosis", JSON),
    Column("pixels", JSON),
    Column("standard", JSON),
    Column("members", JSON),
    Column("overtaken", Boolean, nullable=False, default=False),
    Column("origin", TEXT, nullable=False, default=""),
    Column("canonical_key", TEXT),
    Column("period", TEXT, nullable=False, default=""),
    Column("override", Boolean, nullable=False, default=False),
    Column("key", TEXT, nullable=False),
    Column("verdict_key", TEXT),
    Column("profile_hash", TEXT, nullable=False),
    Index("flats_band", "band", "night"),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("key", TEXT, primary_key=True),
    Column("outcome", JSON, nullable=False),
)

scans = Table(
    "scans",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("scan", BigInteger, primary_key=True),
    Column("read", TEXT, primary_key=True),
    Column("status", TEXT, nullable=False),
    Column("cause", TEXT, nullable=False),
    Column("n_frames", BigInteger, nullable=False),
    Column("n_blocks", BigInteger, nullable=False),
    Column("n_rejected", BigInteger, nullable=False),
    Column("n_substituted_frames", BigInteger, nullable=False),
    Column("level_dn", Float),
    Column("level_shift_dn", Float),
    Column("start_iso", TEXT),
    Column("dark_night", TEXT),
    Column("dark_age_nights", BigInteger),
    Column("dark_status", TEXT),
    Column("canonical_night", TEXT),
    Column("canonical_age_nights", BigInteger),
    Column("canonical_status", TEXT),
    Column("has_frames", Boolean, nullable=False, default=False),
    Column("stale", TEXT, nullable=False, default=""),
    Column("key", TEXT, nullable=False),
    Column("verdict_key", TEXT),
    Column("profile_hash", TEXT, nullable=False),
    # Scans are counted by what they were calibrated with, and a long survey has hundreds of thousands.
    Index("scans_canonical", "band", "night", "canonical_night", "scan"),
)

sky_offsets = Table(
    "sky_offsets",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("scan", BigInteger, primary_key=True),
    Column("read", TEXT, primary_key=True),
    Column("block", BigInteger, primary_key=True),
    Column("first_frame", BigInteger, nullable=False),
    Column("last_frame", BigInteger, nullable=False),
    Column("n_frames", BigInteger, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("cause", TEXT, nullable=False),
    Column("used_block", BigInteger, nullable=False),
    Column("level_dn", Float),
    *_checks("sky_offset"),
    Column("cells_dn", JSON),
    Column("cell_error_dn", Float),
    Column("override", Boolean, nullable=False, default=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("product", TEXT, primary_key=True),
    Column("region", TEXT, primary_key=True),
    Column("metric", TEXT, primary_key=True),
    Column("value", Float),
    Column("error", Float),
    Column("unit", TEXT, nullable=False),
    Column("key", TEXT, nullable=False),
    Index("metrics_trend", "band", "product", "metric", "region", "night"),
)

cell_maps = Table(
    "cell_maps",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("product", TEXT, primary_key=True),
    Column("cells", JSON, nullable=False),
    Column("error", Float),
    Column("unit", TEXT, nullable=False),
    Column("key", TEXT, nullable=False),
    Index("cell_maps_series", "band", "product", "night"),
)

states = Table(
    "states",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("product", TEXT, primary_key=True),
    Column("state", TEXT, nullable=False),
    Column("cause", TEXT, nullable=False),
    Column("region", TEXT, nullable=False),
    Column("value", Float),
    Column("error", Float),
    Column("unit", TEXT, nullable=False),
    Column("significance", Float),
    Column("since", TEXT),
    Index("states_series", "band", "product", "night"),
)

standings = Table(
    "standings",
    metadata,
    Column("band", TEXT, primary_key=True),
    Column("product", TEXT, primary_key=True),
    Column("period", TEXT, primary_key=True),
    Column("key", TEXT, nullable=False),
    Column("content", TEXT, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("night", TEXT, primary_key=True),
    Column("band", TEXT, primary_key=True),
    Column("product", TEXT, primary_key=True),
    Column("region", TEXT, primary_key=True),
    Column("metric", TEXT, primary_key=True),
    Column("state", TEXT, nullable=False),
    Column("value", Float),
    Column("limit", Float),
    Column("unit", TEXT, nullable=False),
    Column("text", TEXT, nullable=False),
    Column("cause", TEXT, nullable=False, default=""),
    Column("error", Float),
    Column("significance", Float),
    Column("since", TEXT),
    Column("last_night", TEXT),
    Column("over", Boolean, nullable=False, default=False),
    Column("forecast_nights", Float),
    Column("scans", JSON),
    Column("effect_mmag", Float),
    Column("proposal", TEXT),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=True),
    Column("time", TEXT, nullable=False),
    Column("who", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("night", TEXT, nullable=False),
    Column("band", TEXT),
    Column("product", TEXT),
    Column("read", TEXT),
    Column("scan", BigInteger),
    Column("block", BigInteger),
    Column("region", TEXT),
    Column("metric", TEXT),
    Column("value", TEXT),
    Column("reason", TEXT, nullable=False),
    Column("expires", TEXT),
    Column("digest", TEXT),
    Column("undoes", BigInteger),
    Index("decisions_night", "night", "kind"),
)
