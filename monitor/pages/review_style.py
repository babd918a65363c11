"""Styles of the Review page."""

from __future__ import annotations

__all__ = ["CARDS_CSS", "FOOT_CSS", "LEGEND_CSS", "MAPS_CSS", "MIDDLE_CSS", "PAIR_CSS", "STRIPS_CSS"]

CARDS_CSS = """
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }
.band { border-left: 4px solid var(--muted); padding: 10px 12px; display: flex; flex-direction: column; }
.band.good { border-left-color: var(--good); } .band.watch, .band.notice { border-left-color: var(--watch); }
.band.bad, .band.rejected { border-left-color: var(--bad); }
.band h2 { color: var(--ink); min-height: 38px; }
.badges { display: grid; grid-template-columns: repeat(5, 1fr); gap: 6px; margin-top: auto; padding-top: 8px; }
.badge { display: flex; flex-direction: column; border: 1px solid var(--line); border-radius: 8px; padding: 5px;
  text-decoration: none; min-width: 0; }
.badge:hover { border-color: currentColor; text-decoration: none; }
.what { color: var(--muted); font-size: 11px; white-space: nowrap; }
.value { font-size: 14px; font-weight: 650; white-space: nowrap; } .value small { font-weight: 400; font-size: 10px; }
.value.long { font-size: 12px; letter-spacing: -.02em; }
.word { font-size: 11px; white-space: nowrap; }
@media (max-width: 700px) { .cards { grid-template-columns: 1fr; } .badges { grid-template-columns: repeat(3, 1fr); }
  .band h2 { min-height: 0; } }
"""

MIDDLE_CSS = """
:host { gap: 12px; margin-top: 12px; }
:host > .third { flex: 1 1 0; min-width: 300px; }
:host > .trends { flex: 2 1 0; min-width: 320px; }
@media (max-width: 1000px) {
  :host { flex-direction: column !important; } :host > .third, :host > .trends { flex: none; } }
"""

PAIR_CSS = """
@media (max-width: 700px) { :host { flex-direction: column !important; height: auto !important; }
  :host > * { flex: none !important; width: 100% !important; } }
"""

LEGEND_CSS = """
.legend { display: flex; gap: 4px 16px; align-items: baseline; flex-wrap: wrap; padding: 2px 4px; font-size: 12px; }
.legend i { display: inline-block; width: 12px; height: 10px; border-radius: 2px; }
.w { background: color-mix(in srgb, var(--watch) 30%, transparent); }
.d { background: color-mix(in srgb, var(--bad) 35%, transparent); }
.p { background: color-mix(in srgb, var(--ink) 14%, transparent); border-left: 1px dashed var(--ink); }
"""

# The maps are as wide as the height that is left for them; the strips take the rest.
FOOT_CSS = """
:host { gap: 12px; margin-top: 12px; }
:host > .ratio { flex: 0 1 502px; } :host > .sky { flex: 1 1 0; }
@media (max-width: 1000px) {
  :host { flex-direction: column !important; height: auto !important; }
  :host > * { flex: none !important; height: auto !important; width: 100% !important; }
}
"""

MAPS_CSS = """
.maps { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 170px)); gap: 12px; margin-top: 8px; }
.map { color: var(--ink); font-size: 12px; text-decoration: none; min-width: 0; }
.map img, .hole { width: 100%; aspect-ratio: 1; border-radius: 6px; display: block; image-rendering: pixelated;
  object-fit: contain; }
.hole { background: repeating-linear-gradient(45deg, var(--ground) 0 6px, var(--line) 6px 7px);
  display: grid; place-items: center; color: var(--muted); text-align: center; padding: 8px; }
.scale { display: flex; gap: 8px; align-items: center; font-size: 11px; color: var(--muted); margin-top: 6px; }
.scale i { flex: 1; height: 8px; border-radius: 4px;
  background: linear-gradient(90deg, #08306b, #2171b5, #9ecae1, #f7f7f7, #fdae6b, #d94801, #5e1f00); }
"""

STRIPS_CSS = """
.strips { margin-top: 8px; max-height: 160px; overflow: auto; }
.strip { display: grid; grid-template-columns: 84px 1fr 48px; gap: 8px; align-items: center; color: var(--ink);
  padding: 3px 0; font-size: 12px; }
.blocks { display: flex; gap: 2px; }
i { display: inline-grid; place-items: center; font-style: normal; font-size: 11px; flex: 1; height: 20px;
  border-radius: 3px; border: 1px solid var(--good); min-width: 14px; }
i.accepted { background: var(--good); } i.rejected { border-color: var(--bad); color: var(--bad); }
i.subst { background: repeating-linear-gradient(45deg, transparent, transparent 3px,
  color-mix(in srgb, var(--bad) 35%, transparent) 3px, color-mix(in srgb, var(--bad) 35%, transparent) 5px); }
.more { margin: 4px 0 0; font-size: 12px; } .more:empty { display: none; }
.key { display: flex; gap: 6px; align-items: center; font-size: 12px; margin: 8px 0 0; flex-wrap: wrap; }
.key i { flex: none; width: 18px; height: 14px; }
"""
