"""Styles of the Scan page."""

from __future__ import annotations

__all__ = ["BLOCK_CSS", "CAPTION_CSS", "CARD_CSS", "HEAD_CSS", "STRIP_CSS", "TILES_CSS", "TOP_CSS", "WIDE_CSS"]

TOP_CSS = """
:host { gap: 12px; align-items: stretch; }
:host > .wide { flex: 5 1 0; min-width: 0; } :host > .narrow { flex: 3 1 0; min-width: 0; }
@media (max-width: 1000px) {
  :host { flex-direction: column !important; } :host > .wide, :host > .narrow { flex: none; width: 100%; } }
"""

CARD_CSS = """
:host { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px;
  margin-top: 12px; box-sizing: border-box; gap: 8px; }
"""

TILES_CSS = """
:host { display: grid !important; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 12px; }
@media (max-width: 1000px) { :host { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
"""

HEAD_CSS = """
.nowrap { white-space: nowrap; }
.html, section { height: 100%; }
h1 { margin-right: 8px; }
.status { margin: 10px 0 8px; } .warn { margin: 0 0 8px; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 6px 14px; margin: 0; }
dt { color: var(--muted); font-size: 12px; } dd { margin: 0; font-weight: 600; }
.lineage { margin-top: 4px; } .lineage th { white-space: nowrap; width: 1%; position: static; }
.lineage th, .lineage td { padding: 3px 8px 3px 0; border: 0; font-size: 13px; }
.lineage tr:hover td { background: none; }
.path { overflow-wrap: anywhere; color: var(--muted); } .file { overflow-wrap: anywhere; }
"""

STRIP_CSS = """
.row { gap: 6px 14px; } .row .muted { font-size: 12px; }
.blockstrip { display: flex; gap: 4px; margin-top: 8px; overflow-x: auto; padding: 3px; }
.block { flex: 1 1 0; min-width: 84px; display: flex; flex-direction: column; align-items: center; padding: 4px 6px;
  border-width: 2px; line-height: 1.25; }
.block small { font-size: 11px; }
.block.ok { border-color: var(--good); } .block.no { border-color: var(--bad); }
.block.ok b { color: var(--good); } .block.no b { color: var(--bad); }
.block.subst { background: repeating-linear-gradient(45deg, transparent, transparent 5px,
  color-mix(in srgb, var(--bad) 16%, transparent) 5px, color-mix(in srgb, var(--bad) 16%, transparent) 8px); }
.block[aria-pressed=true] { background: var(--panel); color: var(--ink);
  border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
.note { margin: 6px 0 0; color: var(--watch); font-size: 13px; }
"""

CAPTION_CSS = """
.cap { font-size: 13px; padding-top: 4px; }
.bar { display: flex; gap: 6px; align-items: center; font-size: 11px; color: var(--muted); margin: 3px 0; }
.bar span { white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar i { flex: 1; height: 9px; border-radius: 3px; }
.diverging { background: linear-gradient(90deg, #08306b, #2171b5, #9ecae1, #f7f7f7, #fdae6b, #d94801, #5e1f00); }
.sequential { background: linear-gradient(90deg, #00204c, #31446b, #666970, #958f78, #cbba69, #ffe945); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(84px, 1fr)); gap: 0 8px; margin: 2px 0 0; }
@media (max-width: 500px) { dl { display: block; } dl div { display: flex; justify-content: space-between; } }
dt { color: var(--muted); font-size: 11px; } dd { margin: 0; font-weight: 600; }
dl div { white-space: nowrap; }
dd::after { content: " DN"; font-weight: 400; font-size: 11px; color: var(--muted); }
"""

BLOCK_CSS = """
.blocks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 8px 24px;
  margin-top: 6px; --warm: #d94801; --cold: #2171b5; }
p { margin: 4px 0; }
.cells { table-layout: fixed; margin-top: 6px; }
.cells td { padding: 3px 2px; text-align: center; font-size: 11px; border: 1px solid var(--line); }
.cells tr:hover td { outline: 0; }
td, th { padding: 3px 8px; }
"""

WIDE_CSS = """
.empty { padding: 32px; } h2 { margin-bottom: 8px; }
"""
