"""What people said about alerts, where the archive keeps it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

__all__ = ["with_life"]

Row = dict[str, Any]


def with_life(alerts: Iterable[Row], decisions: Iterable[Row], today: str) -> list[Row]:
    """Return the alerts with ``life``, ``life_by``, ``life_until`` and ``life_note``."""
    try:
        join = importlib.import_module("calib.alert_life").with_life
    except ImportError:
        named = [(a, str(a.get("acknowledged_by") or "")) for a in alerts]
        nothing = {"life_until": "", "life_note": ""}
        return [a | {"life": "acknowledged" if by else "open", "life_by": by} | nothing for a, by in named]
    found: list[Row] = join(alerts, decisions, today)
    return found
