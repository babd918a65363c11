"""Pages that need no script: signing in and out, and the description of the API."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from markupsafe import Markup as Safe

from monitor.palette import Theme, theme

__all__ = ["ICON", "plain_page", "policy", "variables"]

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#0f151b"/>'
    '<path d="M4 17l5-6 4 3 7-8" fill="none" stroke="#5ab4f0" stroke-width="2.6" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)
ICON = "data:image/svg+xml;base64," + b64encode(_ICON.encode()).decode()

_PAGE = Safe(
    """<!doctype html>
<html lang="en"{theme}>
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="icon" href="{icon}"><style>{css}</style></head>
<body>{body}</body>
</html>
"""
)

_BASE_CSS = """
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; background: var(--ground); color: var(--ink);
  font: 15px/1.5 "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", "DejaVu Sans", sans-serif; }
a { color: var(--accent); text-underline-offset: 2px; }
:is(a, button, input, summary):focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
h1, h2, h3, p { margin: 0; }
"""


def variables(colours: Theme) -> str:
    """Return the colours of a theme as variables of a style sheet."""
    names = ("ground", "panel", "ink", "muted", "line", "accent")
    parts = [f"--{n}: {getattr(colours, n)};" for n in names]
    parts += [f"--{n}: {colours.state(n)};" for n in ("good", "watch", "bad")]
    return " ".join(parts)


def style_sheet(css: str) -> str:
    """Return a page's style, in light and dark: as chosen on the page, or else as the machine has it."""
    dark = f"{variables(theme(True))} color-scheme: dark;"
    return (
        f":root {{ {variables(theme(False))} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f":root[data-theme=dark] {{ {dark} }}\n{_BASE_CSS}{css}"
    )


def plain_page(title: str, body: Safe, css: str, chosen: str | None = None) -> str:
    """Return a whole page; ``chosen`` is the theme that was chosen, if any."""
    mark = Safe(' data-theme="{}"').format(chosen) if chosen in ("dark", "light") else ""
    return str(_PAGE.format(theme=mark, title=title, icon=Safe(ICON), css=Safe(style_sheet(css)), body=body))


def policy(css: str) -> str:
    """Return the content security policy of such a page: its own style, and nothing else."""
    digest = b64encode(hashlib.sha256(style_sheet(css).encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
