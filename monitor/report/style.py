"""How a report looks: light on paper, light or dark on screen as the reader's system has it."""

from __future__ import annotations

from monitor.palette import STATES, theme
from monitor.plots.thumbnail import DIVERGING

__all__ = ["CSS"]


def _variables(dark: bool) -> str:
    t = theme(dark)
    names = {"ground": t.ground, "panel": t.panel, "ink": t.ink, "muted": t.muted, "line": t.line, "accent": t.accent}
    names |= {n: STATES[n].colour(dark) for n in ("good", "watch", "bad")}
    return "".join(f"--{n}: {v}; " for n, v in names.items())


# NIGHT stands for the night at the foot of every sheet.
CSS = (
    f":root {{ {_variables(False)} --scale: linear-gradient(90deg, {', '.join(DIVERGING)}); }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(True)} }} }}\n"
    + """
:root { color-scheme: light; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 20px 24px 40px; }
h1, h2, h3 { margin: 0; line-height: 1.25; font-weight: 650; }
h1 { font-size: 26px; } h2 { font-size: 18px; margin-bottom: 8px; } h3 { font-size: 14.5px; }
p { margin: 0; } small { font-size: 12px; color: var(--muted); }
code { font: 12px/1.4 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
header, section { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px;
  margin-bottom: 14px; }
.brand { font-weight: 700; } .brand span { font-weight: 400; color: var(--muted); }
.overall { font-size: 16px; margin: 4px 0 10px; } .overall b { margin-right: 4px; } .overall span + span,
  .overall > span { color: var(--ink); font-size: 14px; }
.note { color: var(--muted); margin: 0 0 8px; font-size: 13px; } .empty { padding: 6px 0; }
.nowrap, .state { white-space: nowrap; }
td .state, li .state, .empty .state, dd .state { white-space: normal; }
.good, .accepted { color: var(--good); } .watch, .notice { color: var(--watch); }
.bad, .rejected { color: var(--bad); }
.unknown, .provisional, .supplied, .stale, .notrun, .pending { color: var(--muted); }
.facts { margin: 0; display: grid; gap: 3px 18px; }
.facts div { display: grid; grid-template-columns: 118px 1fr; } dt { color: var(--muted); }
dd { margin: 0; min-width: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } .wide:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { font-size: 12px; color: var(--muted); font-weight: 600; white-space: nowrap; vertical-align: bottom; }
tbody th { font-weight: 600; white-space: nowrap; }
#verdicts .subject tbody th { white-space: normal; min-width: 150px; }
#scans td:nth-child(3) .state { white-space: nowrap; } #scans td:last-child { min-width: 140px; }
#scans td:nth-child(7) { min-width: 170px; }
table[aria-label="rejected sky offsets"] td:nth-child(4) { min-width: 100px; }
table[aria-label="rejected sky offsets"] td:nth-child(5) { min-width: 170px; }
#provenance th code { white-space: nowrap; } tbody tr:last-child > * { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; } td.n { white-space: nowrap; }
td:last-child { padding-right: 0; }
td small, th small { display: block; font-weight: 400; } td.n small { display: inline; }
.band { border-left: 4px solid currentColor; padding: 2px 0 2px 12px; margin: 0 0 16px; }
.band:last-child { margin-bottom: 0; } .band h3, .band table { color: var(--ink); } .band h3 { margin-bottom: 4px; }
.band th { width: 110px; } .band td:nth-child(2) { width: 110px; white-space: nowrap; }
.band td:nth-child(3) { width: 110px; padding-right: 22px; }
.alerts { list-style: none; margin: 0; padding: 0; }
.alerts li { display: grid; grid-template-columns: 82px 1fr; padding: 7px 0; border-bottom: 1px solid var(--line); }
.alerts li:last-child { border-bottom: 0; } .alerts .note { margin: 0; font-size: 12.5px; }
.alerts li > div { min-width: 0; overflow-wrap: anywhere; }
.told { font-size: 13px; font-variant-numeric: tabular-nums; }
.told span { display: inline-block; margin-right: 16px; } .told i { font-style: normal; color: var(--muted); }
.subject + .subject, .mapset + .mapset { margin-top: 20px; } h3 + .wide { margin-top: 4px; }
.wide + h3 { margin-top: 16px; }
.verdicts { list-style: none; margin: 4px 0 8px; padding: 0; } .verdicts li { padding: 1px 0; }
.verdicts li > b { display: inline-block; min-width: 30px; margin-right: 4px; }
#verdicts tbody th b { font-weight: 600; } #verdicts tbody th small { display: inline; }
.mapset h3 span { font-weight: 400; color: var(--muted); font-size: 13px; }
.maps { display: grid; grid-template-columns: repeat(var(--n, 3), minmax(0, 340px)); gap: 12px; margin: 8px 0; }
figure { margin: 0; min-width: 0; } figcaption .state { white-space: normal; }
figcaption { margin-top: 3px; font-size: 13px; }
figcaption .n { color: var(--muted); white-space: nowrap; }
.maps img { display: block; width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line); }
.hole { aspect-ratio: 1; display: grid; place-items: center; text-align: center; padding: 12px; color: var(--muted);
  font-size: 13px; border: 1px dashed var(--line); }
.scale { display: flex; align-items: center; flex-wrap: wrap; gap: 4px 8px; font-size: 12px;
  font-variant-numeric: tabular-nums; }
.scale i { width: 180px; height: 11px; background: var(--scale); border: 1px solid var(--line); }
.scale small { margin-left: 8px; }
.panels { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px 18px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 12.5px; margin-bottom: 6px; }
.legend i { display: inline-block; width: 13px; height: 10px; border: 1px solid var(--line); }
.legend .w { background: color-mix(in srgb, var(--watch) 18%, transparent); }
.legend .d { background: color-mix(in srgb, var(--bad) 26%, transparent); }
.legend .p { background: color-mix(in srgb, var(--muted) 22%, transparent); }
svg { display: block; width: 100%; height: auto; font-family: inherit; font-size: 11px; }
svg text { fill: var(--muted); } svg .title { fill: var(--ink); font-size: 12.5px; font-weight: 600; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .far { fill: var(--ink); font-size: 9.5px; text-anchor: middle; }
svg .frame { fill: none; stroke: var(--line); } svg .tick { stroke: var(--muted); }
svg .w { fill: var(--watch); opacity: .10; } svg .d { fill: var(--bad); opacity: .14; }
svg .period { fill: var(--muted); opacity: .16; } svg .edge { stroke: var(--ink); stroke-dasharray: 4 3; }
svg .grid { stroke: var(--line); } svg .zero { stroke: var(--muted); opacity: .6; }
svg .joined { fill: none; stroke: var(--good); opacity: .65; } svg .error { stroke: var(--good); opacity: .5; }
svg .dot { fill: var(--good); } svg .cross { fill: none; stroke: var(--bad); stroke-width: 1.8; }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.3; }
@media screen and (max-width: 700px) {
  main { padding: 10px; } header, section { padding: 12px; } .panels { grid-template-columns: 1fr; }
  .facts div { grid-template-columns: 92px 1fr; } .maps { gap: 6px; } figcaption { font-size: 12px; }
  .hole { padding: 4px; font-size: 11px; } .scale i { width: 120px; }
  .scale small { margin-left: 0; flex-basis: 100%; }
  .band table, .band tbody, .band tr, .band th, .band td { display: block; width: auto !important;
    padding: 0; border: 0; }
  .band tr { display: grid; grid-template-columns: 96px 1fr auto; gap: 0 8px; padding: 4px 0;
    border-bottom: 1px solid var(--line); }
  .band td:last-child { grid-column: 1 / -1; color: var(--muted); font-size: 13px; }
  .band td:nth-child(3) { padding-right: 0; }
}
@page { margin: 13mm 12mm 15mm;
  @bottom-left { content: "Vesper night report NIGHT"; font: 8pt system-ui, Arial, sans-serif; color: #56616d; }
  @bottom-right { content: counter(page) " / " counter(pages); font: 8pt system-ui, Arial, sans-serif;
    color: #56616d; } }
@media print {
  :root { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { background: #fff; font-size: 9.2pt; line-height: 1.36; } main { max-width: none; padding: 0; }
  header, section { border: 0; border-radius: 0; padding: 0; margin: 0 0 5mm; }
  section { border-top: 1px solid var(--line); padding-top: 3mm; }
  h1 { font-size: 18pt; } h2 { font-size: 12.5pt; } h3 { font-size: 10pt; } small, code, thead th { font-size: 7.8pt; }
  .note, figcaption, .legend, .scale, .hole { font-size: 8.2pt; }
  th, td { padding: 1.3px 7px 1.3px 0; } h2, h3, .note, .legend, .verdicts, .verdicts li { break-after: avoid; }
  .alerts li, .band, tr, figure, .mapset, svg, header, .facts div, .verdicts li { break-inside: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; } #scans table { font-size: 8.4pt; }
  .maps { grid-template-columns: repeat(var(--n, 3), minmax(0, 46mm)); } .panels { gap: 2mm 5mm; }
  p, li { orphans: 3; widows: 3; }
}
"""
)
