"""The browser itself: its address and history, the keyboard, light or dark, and a connection that is lost."""

from __future__ import annotations

import param
from panel.custom import JSComponent

__all__ = ["Browser"]


class Browser(JSComponent):
    """Connects a session to the browser's window; it shows nothing.

    Attributes
    ----------
    nav : dict
        Set from Python: ``search`` (query string), ``push`` (a new step in the history, or replace), ``title``.
    popped : dict
        Set by the browser when the user goes back or forward: ``search``, ``n``.
    key : dict
        A key pressed outside any input: ``key``, ``n``.
    dark : dict
        ``on`` (bool), ``n``: the theme, remembered in a cookie.
    """

    nav = param.Dict(default={})
    popped = param.Dict(default={})
    key = param.Dict(default={})
    dark = param.Dict(default={})

    _esm = """
    export function render({model}) {
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
        if (e.ctrlKey || e.metaKey || e.altKey) return
        const t = e.composedPath()[0]
        if (t && /^(INPUT|SELECT|TEXTAREA)$/.test(t.tagName)) return
        if ((e.key === "Enter" || e.key === " ") && t && /^(BUTTON|A)$/.test(t.tagName)) return
        model.key = {key: e.key, n: ++n}
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
      model.on("remove", () => {
        window.removeEventListener("popstate", pop); window.removeEventListener("keydown", press) })
      return document.createElement("span")
    }
    """
