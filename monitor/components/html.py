"""Markup with events: plain HTML elements whose clicks and changes reach Python.

Links, buttons and choices are the browser's own: reachable by keyboard, readable aloud, cheap. Text is escaped by
`Safe` (markupsafe), so that what comes out of headers stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import param
from markupsafe import Markup as Safe
from panel.custom import JSComponent

from monitor.components.events import RECENT_JS, Inbox

__all__ = ["Html", "Safe", "join"]


def join(parts: Any, by: str = "") -> Safe:
    """Join pieces of markup; plain text among them is escaped."""
    return Safe(by).join(parts)


class Html(JSComponent):
    """A piece of markup.

    Elements with ``data-act`` report clicks (buttons) or changes (inputs, selects) as ``(act, value)``; the value is
    that of the input, or ``data-value``. Links with ``data-nav`` report ``("go", href)`` instead of loading a page.
    Focus survives a redraw on elements with an ``id``, and so does what is being typed there. Of a box with
    ``data-more`` the element with that class says how many of its lines lie below its edge.
    """

    html = param.String(default="")
    sent = param.Dict(default={})

    _esm = (
        """
    export function render({model}) {"""
        + RECENT_JS
        + """
      const root = document.createElement("div")
      root.className = "html"
      const draw = () => {
        const before = root.getRootNode().activeElement
        const id = before && root.contains(before) ? before.id : null
        const scrolls = [...root.querySelectorAll("[data-scroll]")].map(e => [e.dataset.scroll, e.scrollTop])
        root.innerHTML = model.html
        for (const [name, top] of scrolls) {
          const e = root.querySelector(`[data-scroll="${name}"]`); if (e) e.scrollTop = top }
        if (id) { const e = root.querySelector("#" + CSS.escape(id)); if (e) resume(before, e) }
        for (const e of root.querySelectorAll("[data-more]")) {
          e.addEventListener("scroll", () => count(e), {passive: true}); boxes.observe(e) }
      }
      // The field one types in goes on where it was: with what was typed since it was drawn, and what is selected.
      const resume = (before, e) => {
        e.focus({preventScroll: true})
        if (!e.matches("input[type=text], input[type=search], textarea") || before.type !== e.type) return
        if (before.value !== before.defaultValue) e.value = before.value
        e.setSelectionRange(before.selectionStart, before.selectionEnd)
      }
      // How many lines of a box lie below its edge.
      const count = e => {
        const words = root.querySelector("." + e.dataset.more)
        const end = e.getBoundingClientRect().bottom
        const n = [...e.children].filter(line => line.getBoundingClientRect().bottom > end + 8).length
        if (words) words.textContent = n ? `▼ ${n} more` : ""
      }
      const boxes = new ResizeObserver(seen => seen.forEach(s => count(s.target)))
      const send = (act, value, again) => { model.sent = note(again, act, value) }
      root.addEventListener("click", e => {
        const t = e.target.closest("[data-nav], button[data-act]")
        if (!t || !root.contains(t)) return
        if (t.hasAttribute("data-nav")) {
          if (e.ctrlKey || e.metaKey || e.shiftKey || e.button) return
          e.preventDefault(); send("go", t.getAttribute("href"))
        } else send(t.dataset.act, t.dataset.value ?? "")
      })
      const changed = e => {
        const t = e.target
        if (t.dataset && t.dataset.act && t.tagName !== "BUTTON")
          send(t.dataset.act, t.type === "checkbox" ? String(t.checked) : t.value, true)
      }
      root.addEventListener("change", changed)
      const waiting = new WeakMap()
      root.addEventListener("input", e => {
        if (e.target.type !== "range" && !("live" in e.target.dataset)) return
        // Once an event has passed, it no longer says which element within it was meant.
        const target = e.target
        clearTimeout(waiting.get(target)); waiting.set(target, setTimeout(() => changed({target}), 60))
      })
      model.on("html", draw); draw()
      model.on("remove", () => boxes.disconnect())
      return root
    }
    """
    )

    def __init__(
        self, html: str = "", on: Mapping[str, Callable[[str], None]] | None = None, css: str = "", **params: Any
    ) -> None:
        self._on = dict(on or {})
        self._inbox = Inbox(self._deliver)
        params.setdefault("sizing_mode", "stretch_width")
        super().__init__(html=str(html), stylesheets=[BASE_CSS, css] if css else [BASE_CSS], **params)
        self.param.watch(lambda event: self._inbox.take(event.new), "sent")

    def _deliver(self, act: str, value: Any) -> None:
        callback = self._on.get(act)
        if callback is not None:
            callback(str(value))


# A box with `wide-table` scrolls sideways, and a veil lies at each edge behind which there is more: two that stay at
# the edges of the box, covered by two that move with the table.
# A table with `stacked` becomes one card a row on a phone; each cell names its column in `data-head`.
BASE_CSS = """
:host { display: block; color: var(--ink); font: 14px/1.45 var(--font); }
.html { width: 100%; font: 14px/1.45 var(--font); }
* { box-sizing: border-box; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
/* Among other words a link is told by more than its colour. */
:is(td, dd, p) a:not(:hover) { text-decoration: underline; text-underline-offset: 2px;
  text-decoration-color: color-mix(in srgb, currentColor 45%, transparent); }
:is(a, button, select, input, [tabindex]):focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
button, select, input[type=text], input[type=date], input[type=search], input[type=number] {
  font: inherit; color: var(--ink); background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: 4px 10px; min-height: 32px; }
button { cursor: pointer; }
button:hover:not(:disabled) { border-color: var(--accent); }
button:disabled { color: var(--muted); cursor: default; opacity: .65; }
button[aria-pressed=true] { background: var(--accent); color: var(--panel); border-color: var(--accent); }
h1, h2, h3 { margin: 0; font-weight: 600; line-height: 1.25; }
h1 { font-size: 20px; } h2 { font-size: 15px; } h3 { font-size: 13px; }
.muted { color: var(--muted); } .num { font-variant-numeric: tabular-nums; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.row { display: flex; gap: 10px; flex-wrap: wrap; align-items: center; }
.good, .accepted { color: var(--good); } .watch, .notice { color: var(--watch); }
.bad, .rejected { color: var(--bad); }
.unknown, .provisional, .supplied, .stale, .notrun, .pending { color: var(--muted); }
.field { display: inline-flex; gap: 6px; align-items: center; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: 12px; position: sticky; top: 0;
  background: var(--panel); }
th, td { padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; }
tr:hover td { background: color-mix(in srgb, var(--accent) 7%, transparent); }
.wide-table { --veil: color-mix(in srgb, var(--ink) 26%, transparent); overflow: auto; background:
  linear-gradient(90deg, var(--panel) 35%, transparent) left / 44px 100% no-repeat local,
  linear-gradient(270deg, var(--panel) 35%, transparent) right / 44px 100% no-repeat local,
  linear-gradient(90deg, var(--veil), transparent) left / 16px 100% no-repeat scroll,
  linear-gradient(270deg, var(--veil), transparent) right / 16px 100% no-repeat scroll; }
.wide-table th { position: static; background: none; }
@media (max-width: 700px) {
  table.stacked, .stacked :is(tbody, tr, td) { display: block; min-width: 0 !important; }
  .stacked :is(thead, tr.heads) { display: none; }
  .stacked tr { padding: 8px 0; border-bottom: 1px solid var(--line); } .stacked tr:last-child { border-bottom: 0; }
  .stacked td, .stacked td.n { display: flex; gap: 12px; justify-content: space-between; text-align: right;
    white-space: normal; padding: 2px 4px; border: 0; overflow-wrap: anywhere; }
  .stacked td:not([data-head]) { text-align: left; } .stacked td.none { display: none; }
  .stacked td[data-head]::before { content: attr(data-head); color: var(--muted); text-align: left; flex: none;
    max-width: 45%; }
}
.empty { padding: 24px; text-align: center; color: var(--muted); }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
"""
