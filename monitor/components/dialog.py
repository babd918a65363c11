"""A dialog: a question with a form, above everything, that keeps the keyboard until it is answered or closed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import param
from panel.custom import JSComponent

from monitor.components.events import RECENT_JS, Inbox
from monitor.components.html import BASE_CSS

__all__ = ["Dialog"]

Form = dict[str, str]


class Dialog(JSComponent):
    """The browser's own modal dialog.

    A form with ``data-act`` reports its named fields when it is submitted, and a field with ``data-act`` those of its
    form whenever it changes, as ``(act, fields)``; a button with ``data-act`` reports no fields. What was typed
    survives a redraw of the same question. Esc reports ``close``.

    Attributes
    ----------
    html : str
        The question; empty closes the dialog.
    question : int
        Grows with every new question, whose fields then begin with what the markup says.
    """

    html = param.String(default="")
    question = param.Integer(default=0)
    sent = param.Dict(default={})

    _esm = (
        """
    export function render({model}) {"""
        + RECENT_JS
        + """
      const box = document.createElement("dialog")
      box.setAttribute("aria-labelledby", "dialog-title")
      const fields = form => form ? Object.fromEntries(new FormData(form)) : {}
      const send = (act, form) => { model.sent = note(false, act, JSON.stringify(fields(form))) }
      let asked = -1
      const draw = () => {
        const same = asked === model.question
        const typed = same ? fields(box.querySelector("form")) : {}
        const id = same ? box.getRootNode().activeElement?.id : null
        asked = model.question
        box.innerHTML = model.html
        for (const e of box.querySelectorAll("form [name]")) {
          if (!(e.name in typed) || e.type === "hidden") continue
          if (e.type === "radio") e.checked = e.value === typed[e.name]
          else e.value = typed[e.name]
        }
        const open = !!model.html
        window.vesper = {...window.vesper, modal: open}
        if (open && !box.open) box.showModal()
        if (!open && box.open) box.close()
        if (id) box.querySelector("#" + CSS.escape(id))?.focus()
        else if (open && !same) box.querySelector("[autofocus]")?.focus()
      }
      box.addEventListener("cancel", e => { e.preventDefault(); send("close") })
      box.addEventListener("submit", e => { e.preventDefault(); send(e.target.dataset.act, e.target) })
      box.addEventListener("click", e => {
        const t = e.target.closest("button[data-act]")
        if (t) { e.preventDefault(); send(t.dataset.act) }
      })
      box.addEventListener("change", e => { if (e.target.dataset.act) send(e.target.dataset.act, e.target.form) })
      model.on("html", draw); model.on("question", draw); draw()
      model.on("remove", () => { window.vesper = {...window.vesper, modal: false} })
      return box
    }
    """
    )

    def __init__(self, on: Mapping[str, Callable[[Form], None]], css: str = "", **params: Any) -> None:
        self._on = dict(on)
        self._inbox = Inbox(self._deliver)
        super().__init__(stylesheets=[BASE_CSS, _CSS, css], **params)
        self.param.watch(lambda event: self._inbox.take(event.new), "sent")

    def _deliver(self, act: str, text: Any) -> None:
        callback = self._on.get(act)
        fields = json.loads(text) if isinstance(text, str) and len(text) < 100_000 else {}
        if callback is not None and isinstance(fields, dict):
            callback({str(k): str(v) for k, v in fields.items()})

    def ask(self, html: str) -> None:
        """Put a new question."""
        self.param.update(html=html, question=self.question + 1)

    def redraw(self, html: str) -> None:
        """Draw the same question anew; what was typed stays."""
        self.html = html

    def close(self) -> None:
        """Take the question away."""
        self.html = ""


_CSS = """
dialog { width: min(620px, calc(100vw - 24px)); max-height: calc(100vh - 32px); overflow: auto; padding: 18px 20px;
  border: 1px solid var(--line); border-radius: 12px; background: var(--panel); color: var(--ink);
  font: 14px/1.45 var(--font); box-shadow: 0 12px 48px rgb(0 0 0 / .35); }
dialog::backdrop { background: rgb(0 0 0 / .45); }
dialog h2 { font-size: 17px; margin-bottom: 6px; }
form { display: grid; gap: 10px; margin-top: 10px; }
label.line { display: grid; gap: 3px; } label.line > span { color: var(--muted); font-size: 12px; }
input, select, textarea { width: 100%; }
input[type=radio] { width: auto; }
textarea { font: inherit; color: var(--ink); background: var(--panel); border: 1px solid var(--line);
  border-radius: 6px; padding: 6px 10px; min-height: 64px; resize: vertical; }
textarea:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
fieldset { border: 0; padding: 0; margin: 0; display: flex; gap: 18px; flex-wrap: wrap; }
fieldset label { display: inline-flex; gap: 6px; align-items: center; }
legend { color: var(--muted); font-size: 12px; padding: 0; float: left; }
.buttons { display: flex; gap: 10px; justify-content: flex-end; margin-top: 6px; flex-wrap: wrap; }
.buttons .main { background: var(--accent); border-color: var(--accent); color: var(--panel); }
.follows { border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; font-size: 13px; }
.follows h3 { margin-bottom: 4px; } .follows ul { margin: 4px 0 0; padding-left: 18px; }
.follows details ul { max-height: 160px; overflow: auto; } .follows summary { cursor: pointer; margin-top: 4px; }
.wrong { border: 2px solid var(--bad); border-radius: 8px; padding: 8px 12px; }
.keys { display: grid; grid-template-columns: auto 1fr; gap: 6px 14px; margin: 10px 0 0; }
.keys dt { margin: 0; } .keys dd { margin: 0; }
kbd { font: 12px ui-monospace, monospace; border: 1px solid var(--line); border-bottom-width: 2px; border-radius: 4px;
  padding: 1px 6px; background: var(--ground); }
"""
