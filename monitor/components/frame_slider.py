"""A slider over the frames of a scan that never falls behind: one frame is under way at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

from monitor.components.html import BASE_CSS

__all__ = ["FrameSlider"]


class FrameSlider(JSComponent):
    """Chooses a frame.

    Attributes
    ----------
    state : dict
        Set from Python: ``n`` (frames), ``frame``, ``words`` (what stands beside it).
    moved : dict
        Set by the browser: ``frame``, ``n``.
    """

    state = param.Dict(default={"n": 1, "frame": 0, "words": ""})
    moved = param.Dict(default={})

    _esm = """
    export function render({model}) {
      const root = document.createElement("div")
      root.className = "slider"
      root.innerHTML = `<button id="frame-previous" aria-label="previous frame" title="key ,">◀</button>
        <label class="sr" for="frame">frame</label>
        <input id="frame" type="range" min="0" step="1" aria-label="frame">
        <button id="frame-next" aria-label="next frame" title="key .">▶</button>
        <output class="num" for="frame"></output>`
      const [previous, next] = root.querySelectorAll("button")
      const range = root.querySelector("input"), output = root.querySelector("output")
      let n = 0, waiting = null, since = 0, latest = null, held = false
      const ask = k => {
        k = Math.max(0, Math.min(model.state.n - 1, k))
        range.value = k
        // An answer that never came must not block the slider for good.
        if (waiting != null && Date.now() - since < 3000) { latest = k; return }
        if (k === model.state.frame) return
        waiting = k; since = Date.now()
        model.moved = {frame: k, n: ++n}
      }
      const draw = () => {
        const s = model.state
        range.max = Math.max(0, s.n - 1)
        range.disabled = s.n < 2
        output.textContent = s.words
        if (waiting === s.frame) {
          waiting = null
          const k = latest; latest = null
          if (k != null && k !== s.frame) { ask(k); return }
        }
        if (waiting == null && !held) range.value = s.frame
        previous.disabled = s.frame <= 0; next.disabled = s.frame >= s.n - 1
      }
      range.addEventListener("input", () => ask(+range.value))
      range.addEventListener("pointerdown", () => { held = true })
      const release = () => { held = false }
      window.addEventListener("pointerup", release)
      range.addEventListener("keydown", e => {
        const by = {",": -1, ".": 1}[e.key]
        if (by) { e.preventDefault(); ask(+range.value + by) }
      })
      previous.addEventListener("click", () => ask((latest ?? waiting ?? model.state.frame) - 1))
      next.addEventListener("click", () => ask((latest ?? waiting ?? model.state.frame) + 1))
      model.on("state", draw); draw()
      model.on("remove", () => window.removeEventListener("pointerup", release))
      return root
    }
    """

    def __init__(self, on_move: Callable[[int], None], **params: Any) -> None:
        params.setdefault("sizing_mode", "stretch_width")
        super().__init__(stylesheets=[BASE_CSS, CSS], **params)
        self.param.watch(lambda e: on_move(int(e.new.get("frame", 0))), "moved")


CSS = """
.slider { display: flex; gap: 8px; align-items: center; width: 100%; flex-wrap: wrap; }
input { flex: 1 1 160px; accent-color: var(--accent); min-height: 28px; margin: 0; }
output { min-width: 260px; font-size: 13px; }
@media (max-width: 700px) { output { order: 5; flex-basis: 100%; min-width: 0; } }
"""
