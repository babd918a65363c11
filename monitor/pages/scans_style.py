"""Styles of the Scans page."""

from __future__ import annotations

__all__ = ["SCANS_CSS"]

SCANS_CSS = """
.card { margin-bottom: 12px; }
.card.head { display: flex; gap: 8px 16px; align-items: center; flex-wrap: wrap; }
.grow { flex: 1; }
.none p { margin: 8px 0 0; }
.wide-table { max-height: 480px; } .wide-table th { position: sticky; background: var(--panel); z-index: 1; }
.short { display: none; } .again > * { visibility: hidden; }
.nowrap { white-space: nowrap; } td { font-size: 13px; }
tr.first td { border-top: 2px solid var(--line); } tbody tr.first:first-child td { border-top: 0; }
.wide-table table { min-width: 1120px; }
.cause { min-width: 180px; max-width: 420px; }
.path { overflow-wrap: anywhere; color: var(--muted); }
.file { overflow-wrap: anywhere; }
.lines { display: grid; gap: 8px 20px; margin-top: 10px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 600px), 1fr)); }
.line { display: grid; grid-template-columns: 84px minmax(0, 1fr); gap: 10px; align-items: start; }
.line > a { font-size: 12px; padding-top: 4px; color: var(--ink); }
.tiles { display: flex; align-items: flex-start; gap: 6px; overflow-x: auto; padding: 2px; }
.tile { flex: 1 0 76px; max-width: 104px; color: var(--ink); font-size: 11px; line-height: 1.25;
  border: 2px solid var(--good);
  border-radius: 6px; padding: 2px; text-decoration: none; display: flex; flex-direction: column; }
.tile:hover { border-color: var(--ink); text-decoration: none; }
.tile.no { border-color: var(--bad); border-style: dashed; }
.pic { position: relative; display: block; aspect-ratio: 1; }
.pic img { width: 100%; height: 100%; display: block; border-radius: 3px; image-rendering: pixelated; }
.tile.no .pic::after { content: "✕"; position: absolute; inset: 0; display: grid; place-items: center; font-size: 30px;
  color: var(--bad); text-shadow: 0 0 3px var(--panel), 0 0 3px var(--panel); }
.tile.subst .pic::before { content: ""; position: absolute; inset: 0; background: repeating-linear-gradient(45deg,
  transparent 0 6px, color-mix(in srgb, var(--bad) 55%, transparent) 6px 8px); }
.name { font-weight: 600; margin-top: 2px; }
.why { overflow: hidden; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
.used { color: var(--watch); }
.hole { display: grid; place-items: center; height: 100%; color: var(--muted);
  background: repeating-linear-gradient(45deg, var(--ground) 0 6px, var(--line) 6px 7px); }
.scale { display: flex; gap: 8px; align-items: center; font-size: 11px; color: var(--muted); margin-top: 8px;
  max-width: 420px; }
.scale i { flex: 1; height: 8px; border-radius: 4px;
  background: linear-gradient(90deg, #08306b, #2171b5, #9ecae1, #f7f7f7, #fdae6b, #d94801, #5e1f00); }
.key { display: flex; gap: 6px; align-items: center; font-size: 12px; margin: 8px 0 0; flex-wrap: wrap; }
.key i { width: 18px; height: 14px; border: 2px solid var(--good); border-radius: 3px; font-style: normal;
  font-size: 10px; display: inline-grid; place-items: center; }
.key i.no { border-color: var(--bad); border-style: dashed; color: var(--bad); }
.key i.subst { background: repeating-linear-gradient(45deg, transparent 0 3px,
  color-mix(in srgb, var(--bad) 55%, transparent) 3px 5px); }
@media (max-width: 700px) { .short { display: inline; } .again > * { visibility: visible; }
  .wide, .stacked td.head { display: none; } .wide-table { max-height: none; } .tiles { flex-wrap: wrap; } }
"""
