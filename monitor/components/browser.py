"""The browser itself: its address and history, the keyboard, light or dark, and what to say above everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from monitor.components.events import RECENT_JS, Inbox

__all__ = ["Browser", "Waiting"]


class Browser(JSComponent):
    """Connects a session to the browser's window; it shows nothing.

    Attributes
    ----------
    nav : dict
        Set from Python: ``search`` (query string), ``push`` (a new step in the history, or replace), ``title``.
    popped : dict
        Set by the browser when the user goes back or forward: ``search``, ``n``.
    key : dict
        The keys pressed outside any input, see `on_key`.
    dark : dict
        ``on`` (bool), ``n``: the theme, remembered in a cookie.
    notice : str
        A sentence above the page, such as that the archive cannot be read; empty for none.
    reload : bool
        Load the page again: what the session shows is no longer there.
    """

    nav = param.Dict(default={})
    popped = param.Dict(default={})
    key = param.Dict(default={})
    dark = param.Dict(default={})
    notice = param.String(default="")
    reload = param.Boolean(default=False)

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._keys = Inbox(lambda key: None)

    def on_key(self, act: Callable[[str], None]) -> None:
        """Call a function with every key that is pressed outside any input."""
        self._keys = Inbox(act)
        self.param.watch(lambda event: self._keys.take(event.new), "key")

    _esm = (
        """
    export function render({model}) {"""
        + RECENT_JS
        + """
      const go = () => {
        const {search, push, title} = model.nav
        if (title) document.title = title
        if (search == null || search === location.search) return
        history[push ? "pushState" : "replaceState"]({}, "", location.pathname + search)
      }
      model.on("nav", go); go()
      let n = 0
      const pop = () => { model.popped = {search: location.search, n: ++n} }
      window.addEventListener("popstate", pop)
      const press = e => {
        if (e.ctrlKey || e.metaKey || e.altKey || window.vesper?.modal) return
        const t = e.composedPath()[0]
        if (t && (/^(INPUT|SELECT|TEXTAREA)$/.test(t.tagName) || t.isContentEditable)) return
        if ((e.key === "Enter" || e.key === " ") && t && /^(BUTTON|A|SUMMARY)$/.test(t.tagName)) return
        model.key = note(false, e.key)
      }
      window.addEventListener("keydown", press)
      const paint = () => {
        const on = !!model.dark.on
        document.documentElement.dataset.theme = on ? "dark" : "light"
        document.cookie = `vesper-theme=${on ? "dark" : "light"}; path=/; max-age=31536000; samesite=strict`
      }
      if (!("on" in model.dark)) {
        const on = matchMedia("(prefers-color-scheme: dark)").matches
        model.dark = {on, n: ++n}
      }
      model.on("dark", paint); paint()
      const tell = () => { window.vesper?.notice("archive", model.notice) }
      model.on("notice", tell); tell()
      model.on("reload", () => { if (model.reload) location.reload() })
      model.on("remove", () => {
        window.removeEventListener("popstate", pop); window.removeEventListener("keydown", press) })
      return document.createElement("span")
    }
    """
    )


class Waiting(JSComponent):
    """A card that says why there is nothing to show, and loads the page again as soon as there is.

    Attributes
    ----------
    heading, words : str
        What it says; plain text. The words follow what the server gives as the reason.
    retry : bool
        Offer a button to try again instead of waiting: the page failed although the archive can be read.
    """

    heading = param.String(default="")
    words = param.String(default="")
    retry = param.Boolean(default=False)

    _esm = """
    export function render({model}) {
      const card = document.createElement("section")
      card.className = "card"; card.setAttribute("role", model.retry ? "alert" : "status")
      const add = (tag, text) => {
        const e = document.createElement(tag); e.textContent = text; card.append(e); return e }
      add("h1", model.heading)
      const words = add("p", model.words)
      if (model.retry) {
        const again = add("button", "Try again"); again.id = "retry"
        again.addEventListener("click", () => location.reload())
        return card
      }
      add("p", "This page looks again by itself.").className = "muted"
      let timer
      const look = async () => {
        try {
          const answer = await (await fetch("ready", {cache: "no-store"})).json()
          if (answer.status === "ok") { location.reload(); return }
          if (answer.reason) words.textContent = answer.reason
        } catch (e) {}
        timer = setTimeout(look, 1000)
      }
      timer = setTimeout(look, 1000)
      model.on("remove", () => clearTimeout(timer))
      return card
    }
    """

    _stylesheets: ClassVar[list[str]] = [
        """
        .card { font: 15px/1.5 var(--font); color: var(--ink); background: var(--panel); border: 1px solid var(--line);
          border-radius: 10px; padding: 20px 24px; max-width: 640px; margin: 10vh auto; box-sizing: border-box;
          overflow-wrap: anywhere; }
        h1 { font-size: 20px; margin: 0; } p { margin: 10px 0 0; } .muted { color: var(--muted); }
        button { font: inherit; margin-top: 14px; padding: 6px 14px; color: var(--ink); background: var(--panel);
          border: 1px solid var(--line); border-radius: 6px; cursor: pointer; }
        button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
        """
    ]
