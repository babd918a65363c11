"""Markup with pictures that arrive later: the page stands at once, and fills."""

from __future__ import annotations

import param

from monitor.components.html import Html

__all__ = ["PictureHtml"]


class PictureHtml(Html):
    """Markup in which ``<span data-picture="id"><img></span>`` gets its picture when it is there.

    Attributes
    ----------
    pictures : dict
        ``found``: id → address of the picture, or empty text where there is none; ``n``. The browser keeps what it
        was given, so each is sent once. What bears ``data-reveal`` is scrolled into view when it appears.
    have : int
        The last ``n`` that the browser took. Before that a further set would replace one that was never seen.
    """

    pictures = param.Dict(default={})
    have = param.Integer(default=0)

    _esm = (
        Html._esm.replace("export function render", "function markup")
        + """
    const known = new Map()
    export function render(context) {
      const {model} = context
      const root = markup(context)
      const fill = () => {
        for (const frame of root.querySelectorAll("[data-picture]")) {
          const found = known.get(frame.dataset.picture)
          if (found === undefined) continue
          frame.classList.remove("waiting")
          if (found === "") {
            frame.classList.add("none"); frame.textContent = frame.dataset.none ?? "no image"
            continue
          }
          const image = frame.querySelector("img")
          if (image && image.src !== found) image.src = found
        }
      }
      let revealed = null
      const reveal = () => {
        const opened = root.querySelector("[data-reveal]")
        const key = opened ? opened.dataset.reveal : null
        if (opened && key !== revealed) requestAnimationFrame(() => opened.scrollIntoView({block: "nearest"}))
        revealed = key
      }
      const take = () => {
        for (const [id, uri] of Object.entries(model.pictures.found ?? {})) known.set(id, uri)
        fill()
        const n = model.pictures.n ?? 0
        if (n > model.have) model.have = n
      }
      model.on("pictures", take); model.on("html", () => { fill(); reveal() }); take(); reveal()
      return root
    }
    """
    )
