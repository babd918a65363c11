"""Metrics of single cells over all nights, which are too many for a snapshot."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from calib.archive import schema
from monitor.collect import Collector

__all__ = ["cell_series"]


def cell_series(collector: Collector, product: str, metric: str, region: str) -> pd.DataFrame:
    """Return night, band, value, error and region of one region in all bands and nights, in order of night."""
    m = schema.metrics
    query = (
        sa.select(m.c.night, m.c.band, m.c.value, m.c.error, m.c.region)
        .where(m.c.product == product, m.c.metric == metric, m.c.region == region)
        .order_by(m.c.night)
    )
    return pd.DataFrame(collector.rows(query), columns=[c.name for c in query.selected_columns])
