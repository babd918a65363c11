"""Files made on demand and handed to the browser."""

from __future__ import annotations

import param
from panel.custom import JSComponent

__all__ = ["Download"]


class Download(JSComponent):
    """Saves a text as a file in the browser when ``file`` is set; it shows nothing.

    Attributes
    ----------
    file : dict
        ``name``, ``text``, ``type`` (MIME), ``n`` (a number that grows).
    """

    file = param.Dict(default={})

    _esm = """
    export function render({model}) {
      model.on("file", () => {
        const {name, text, type} = model.file
        if (!name) return
        const link = document.createElement("a")
        link.href = URL.createObjectURL(new Blob([text], {type: (type || "text/csv") + ";charset=utf-8"}))
        link.download = name
        link.click()
        setTimeout(() => URL.revokeObjectURL(link.href), 10000)
      })
      return document.createElement("span")
    }
    """

    def save(self, name: str, text: str, mime: str = "text/csv") -> None:
        """Hand a file to the browser."""
        self.file = {"name": name, "text": text, "type": mime, "n": int(self.file.get("n", 0)) + 1}
