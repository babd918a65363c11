"""What the pages for signing in and out look like."""

from __future__ import annotations

from markupsafe import Markup as Safe

from monitor.access.person import ROLES, Person
from monitor.access.plain_page import plain_page

__all__ = ["CSS", "login_page", "logout_page", "notice_page"]

CSS = """
body { display: grid; place-items: center; padding: 24px 16px; }
main { width: 100%; max-width: 380px; }
.brand { display: flex; align-items: center; gap: 12px; margin-bottom: 18px; }
.brand svg { width: 40px; height: 40px; flex: none; }
.brand b { display: block; font-size: 22px; line-height: 1.15; letter-spacing: .01em; }
.brand span { color: var(--muted); font-size: 13px; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 12px; padding: 24px; }
h1 { font-size: 18px; font-weight: 600; margin-bottom: 14px; }
label { display: block; font-weight: 600; font-size: 13px; margin: 14px 0 4px; }
input { width: 100%; font: inherit; color: var(--ink); background: var(--ground); border: 1px solid var(--muted);
  border-radius: 8px; padding: 9px 12px; min-height: 44px; }
.button { display: block; width: 100%; margin-top: 20px; font: inherit; font-weight: 600; text-align: center;
  min-height: 44px; padding: 10px 12px; border-radius: 8px; border: 1px solid var(--accent); background: var(--accent);
  color: var(--panel); cursor: pointer; text-decoration: none; }
.button:hover { filter: brightness(1.08); }
.button.other { background: none; color: var(--accent); }
.or { display: flex; align-items: center; gap: 10px; color: var(--muted); font-size: 13px; margin-top: 20px; }
.or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--line); }
.or + .button { margin-top: 14px; }
.fault { border: 1px solid var(--bad); border-left-width: 4px; border-radius: 8px; padding: 9px 12px; font-size: 14px;
  margin-bottom: 4px; }
.fault b { color: var(--bad); }
.told { margin-bottom: 6px; }
.foot { color: var(--muted); font-size: 13px; margin-top: 14px; }
"""

_MARK = Safe(
    '<svg viewBox="0 0 24 24" aria-hidden="true">'
    '<rect x=".5" y=".5" width="23" height="23" rx="5" fill="#0f151b" stroke="#2e3a46"/>'
    '<path d="M4 17l5-6 4 3 7-8" fill="none" stroke="#5ab4f0" stroke-width="2.6" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)
_FRAME = Safe(
    '<main><div class="brand">{mark}<div><b>Vesper</b><span>nightly health of a near-infrared camera</span></div></div>'
    '<section class="card"><h1>{heading}</h1>{content}</section>{foot}</main>'
)
_FORM = Safe(
    '<form method="post" action="/login">{fault}'
    '<input type="hidden" name="_xsrf" value="{token}"><input type="hidden" name="next" value="{next}">'
    '<label for="name">Name</label>'
    '<input id="name" name="name" value="{name}" autocomplete="username" autocapitalize="none" spellcheck="false" '
    'maxlength="64" required{name_focus}>'
    '<label for="password">Password</label>'
    '<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required'
    "{described}{password_focus}>"
    '<button class="button" type="submit">Sign in</button></form>'
)
_FAULT = Safe('<div class="fault" id="fault" role="alert"><b>✕</b> {}</div>')

PROVIDERS = {"github": "GitHub", "gitlab": "GitLab", "google": "Google", "azure": "Microsoft", "okta": "Okta"}


def login_page(
    *,
    token: str,
    target: str,
    name: str = "",
    fault: str = "",
    provider: str = "",
    passwords: bool = True,
    chosen: str | None = None,
) -> str:
    """Return the page on which one signs in.

    Parameters
    ----------
    token : str
        Proves that the form came from this server.
    target : str
        Where to go afterwards.
    name, fault : str
        What was tried before, and what was wrong with it.
    provider : str
        Another way in; empty if there is none.
    passwords : bool
        Whether any account has a password.
    chosen : str, optional
        The theme.
    """
    parts: list[Safe] = []
    said = _FAULT.format(fault) if fault else Safe("")
    if passwords:
        focus = Safe(" autofocus")
        parts.append(
            _FORM.format(
                fault=said,
                token=token,
                next=target,
                name=name,
                name_focus="" if name else focus,
                password_focus=focus if name else "",
                described=Safe(' aria-describedby="fault"') if fault else "",
            )
        )
    elif said:
        parts.append(said)
    if provider:
        if passwords:
            parts.append(Safe('<p class="or">or</p>'))
        words = f"Sign in with {PROVIDERS.get(provider, 'your organisation')}"
        link = Safe('<a class="button {}" href="/login/oauth?next={}">{}</a>')
        parts.append(link.format("other" if passwords else "", Safe("{}").format(_quoted(target)), words))
    foot = Safe('<p class="foot">Accounts are given, and passwords changed, by whoever runs this server.</p>')
    body = _FRAME.format(mark=_MARK, heading="Sign in", content=Safe("").join(parts), foot=foot)
    return plain_page("Sign in · Vesper", body, CSS, chosen)


def _quoted(target: str) -> str:
    from urllib.parse import quote

    return quote(target, safe="")


def logout_page(person: Person, token: str, chosen: str | None = None) -> str:
    """Return the page that asks whether to sign out."""
    content = Safe(
        '<p class="told">Signed in as <b>{}</b>, {}: {}.</p><form method="post" action="/logout">'
        '<input type="hidden" name="token" value="{}"><button class="button" type="submit">Sign out</button></form>'
        '<a class="button other" href="/">Back to the page</a>'
    ).format(person.name, person.role, ROLES[person.role], token)
    body = _FRAME.format(mark=_MARK, heading="Sign out", content=content, foot="")
    return plain_page("Sign out · Vesper", body, CSS, chosen)


def notice_page(heading: str, words: str, link: str, label: str, chosen: str | None = None) -> str:
    """Return a page that says one thing and leads on."""
    content = Safe('<p class="told">{}</p><a class="button" href="{}">{}</a>').format(words, link, label)
    body = _FRAME.format(mark=_MARK, heading=heading, content=content, foot="")
    return plain_page(f"{heading} · Vesper", body, CSS, chosen)
