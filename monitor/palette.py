"""What colours and signs mean, once for the whole product.

The hues are those of Okabe & Ito (2008), told apart with any colour vision; a sign and a word stand beside every
colour. Light and dark variants are chosen for contrast against their ground.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BAND_MARKERS", "STATES", "State", "Theme", "theme"]


@dataclass(frozen=True)
class State:
    """How one state looks: its word, sign, and colour on light and dark ground."""

    name: str
    word: str
    sign: str
    light: str
    dark: str

    def colour(self, dark: bool) -> str:
        """Return the colour for a ground."""
        return self.dark if dark else self.light


_BLUE, _AMBER, _RED, _GREY = (
    ("#0063a3", "#5ab4f0"),
    ("#9a6700", "#f0b440"),
    ("#b8430a", "#ff8a4c"),
    ("#5f6670", "#9aa4b0"),
)

STATES: dict[str, State] = {
    s.name: s
    for s in (
        State("good", "good", "✓", *_BLUE),
        State("notice", "notice", "◆", *_AMBER),
        State("watch", "watch", "▲", *_AMBER),
        State("bad", "drift", "✕", *_RED),
        State("rejected", "rejected", "✕", *_RED),
        State("accepted", "accepted", "●", *_BLUE),
        State("provisional", "provisional", "◐", *_GREY),
        State("supplied", "supplied", "◇", *_GREY),
        State("pending", "in work", "…", *_GREY),
        State("unknown", "no data", "?", *_GREY),
        State("stale", "stale", "⌛", *_GREY),
        State("notrun", "not run", "–", *_GREY),
    )
}

# Bands are told apart by marker and line, never by a colour that means a state.
# No triangles: these stand for what lies beyond an axis.
BAND_MARKERS = ("circle", "square", "diamond", "hex", "star", "square_pin")


@dataclass(frozen=True)
class Theme:
    """Colours of ground, ink and lines for figures and pages."""

    dark: bool
    ground: str
    panel: str
    ink: str
    muted: str
    line: str
    accent: str

    def state(self, name: str) -> str:
        """Return the colour of a state on this ground."""
        return STATES[name].colour(self.dark)


_LIGHT = Theme(False, "#f3f5f7", "#ffffff", "#16202b", "#56616d", "#d5dbe1", "#0063a3")
_DARK = Theme(True, "#0f151b", "#18212a", "#e6edf3", "#9fadba", "#2e3a46", "#5ab4f0")


def theme(dark: bool) -> Theme:
    """Return the light or dark theme."""
    return _DARK if dark else _LIGHT
