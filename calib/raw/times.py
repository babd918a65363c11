"""When a file begins, and to which night it belongs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from calib.profile import TimeRule
from calib.raw.files import Refusal, quoted

__all__ = ["AHEAD", "mjd", "night_of", "plausible_mjd", "start_time"]

_MJD_EPOCH = datetime(1858, 11, 17)
# 1900 to 2099: whatever lies outside is another kind of number (a Julian date, seconds), not an MJD.
_MJD_RANGE = (15020.0, 88069.0)
_YEARS = (1900, 2099)

AHEAD = "lies more than a day ahead of this computer's clock"
"""How the reason ends where a start has not come yet."""

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_OLD_DATE = re.compile(r"(\d{2})/(\d{2})/(\d{2})")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d*)?))?\s*(Z|UTC?|[+-]\d{2}:?\d{2})?", re.IGNORECASE)


def utc_now() -> datetime:
    """Return the time on this computer's clock (UTC, naive)."""
    return datetime.now(UTC).replace(tzinfo=None)


def mjd(time: datetime) -> float:
    """Return a time (UTC) as an MJD."""
    return (time - _MJD_EPOCH) / timedelta(days=1)


def plausible_mjd(days: float) -> bool:
    """Tell whether a number can be the MJD of an observation; NaN cannot."""
    return _MJD_RANGE[0] <= days <= _MJD_RANGE[1]


def night_of(time: datetime, utc_offset_hours: float) -> str:
    """Return the ISO date on which the night of a time (UTC) begins, local noon to local noon."""
    return (time + timedelta(hours=utc_offset_hours - 12)).date().isoformat()


def start_time(value_of: Callable[[str], Any], rules: tuple[TimeRule, ...], *, optional: bool) -> datetime | None:
    """Return the start (UTC, naive) by the first rule that yields one.

    Parameters
    ----------
    value_of : callable
        Card → its value, None if absent.
    rules : tuple of TimeRule
        In order of preference.
    optional : bool
        Return None if no card of any rule is there.

    Raises
    ------
    Refusal
        If no rule yields a time; of several faults the first is told.
    """
    fault = ""
    for rule in rules:
        names = (rule.mjd,) if rule.mjd else rule.cards
        try:
            values = [value_of(name) for name in names]
            if any(value is None for value in values):
                continue
            start = _from_mjd(names[0], values[0]) if rule.mjd else _from_text(names, [str(v) for v in values])
            if not plausible_mjd(mjd(start)):
                raise _out_of_range(names[0], values[0])
            if start > utc_now() + timedelta(days=1):
                raise Refusal(f"{names[0]} {quoted(values[0])} {AHEAD}")
            return start
        except Refusal as refusal:
            # Another rule may still read the time.
            fault = fault or str(refusal)
    if fault:
        raise Refusal(fault)
    if optional:
        return None
    ways = " or ".join(rule.mjd or " + ".join(rule.cards) for rule in rules)
    raise Refusal(f"no start time ({ways})")


def _out_of_range(name: str, value: Any) -> Refusal:
    return Refusal(f"{name} {quoted(value)} is not between {_YEARS[0]} and {_YEARS[1]}")


def _from_mjd(name: str, value: Any) -> datetime:
    try:
        days = float(value)
        if isinstance(value, bool) or not plausible_mjd(days):
            raise ValueError
        return _MJD_EPOCH + timedelta(days=days)
    except (TypeError, ValueError):
        raise Refusal(f"{name} {quoted(value)} is not an MJD") from None


def _from_text(names: tuple[str, ...], values: list[str]) -> datetime:
    """Read ISO text, or a date and a time from two cards."""
    fault = Refusal(f"{' + '.join(names)} {quoted(' '.join(values))} is not a date and time")
    if len(values) == 1:
        day, clock = [*re.split("[Tt ]", values[0], maxsplit=1), ""][:2]
        if not clock.strip() and _day(day) is not None:
            raise Refusal(f"{names[0]} {quoted(values[0])} has no time of day")
        if _day(day) is None:
            raise Refusal(f"{names[0]} {quoted(values[0])} is not a date")
    else:
        # The date may itself be ISO text with a time, of which the other card is then the better one.
        day, clock = re.split("[Tt ]", values[0])[0], values[1]
    date, match = _day(day), _TIME.fullmatch(clock.strip())
    if date is None or match is None:
        raise fault
    if not _YEARS[0] <= date.year <= _YEARS[1]:
        # Not after the hours are added: the last day of the calendar has no next one.
        raise _out_of_range(names[0], values[0])
    hour, minute, second = int(match[1]), int(match[2]), float(match[3] or 0)
    # 60 is a leap second; it is counted as the first second of the next minute.
    if hour > 23 or minute > 59 or second >= 61:
        raise fault
    start = date + timedelta(hours=hour, minutes=minute, seconds=second)
    zone = match[4] or "Z"
    if zone[0] in "+-":
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        start += -ahead if zone[0] == "+" else ahead
    return start


def _day(text: str) -> datetime | None:
    text = text.strip()
    try:
        if match := _DATE.fullmatch(text):
            year, month, day = map(int, match.groups())
        elif match := _OLD_DATE.fullmatch(text):
            # DD/MM/YY is the form of FITS before 1998, and always of the twentieth century.
            day, month, year = map(int, match.groups())
            year += 1900
        else:
            return None
        return datetime(year, month, day)
    except ValueError:
        return None
