"""Posting JSON: no redirect is followed, a few attempts at most, and only scheme and host are ever named."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from calib import __version__
from monitor.digest.config import DigestError, WebhookSettings

__all__ = ["post"]

TRIES, PAUSE_S = 3, 5.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the post into a get, or carry it elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def post(
    settings: WebhookSettings,
    data: Mapping[str, Any],
    key: str,
    *,
    pause_s: float = PAUSE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Post JSON to a webhook.

    Parameters
    ----------
    key : str
        The same for every attempt at the same digest, in the header ``Idempotency-Key``.

    Raises
    ------
    DigestError
        If it was not taken.
    """
    body = json.dumps(data, ensure_ascii=False).encode()
    opener = urllib.request.build_opener(_NoRedirect)
    why = ""
    for attempt in range(1, TRIES + 1):
        request = urllib.request.Request(settings.url, body, method="POST")
        request.add_header("Content-Type", "application/json; charset=utf-8")
        request.add_header("User-Agent", f"Vesper/{__version__}")
        request.add_header("Idempotency-Key", key)
        try:
            opener.open(request, timeout=settings.timeout_s).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            why = f"answered {error.code}"
            if error.code not in _PASSING:
                raise DigestError(f"webhook {settings.name} {why}; check webhook.url") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            late = isinstance(reason, TimeoutError) or isinstance(error, TimeoutError)
            why = f"did not answer within {settings.timeout_s:g} s" if late else f"cannot be reached ({_short(reason)})"
        if attempt < TRIES:
            sleep(pause_s * attempt)
    raise DigestError(f"webhook {settings.name} {why} ({TRIES} attempts); check webhook.url, or try later") from None


def _short(reason: Any) -> str:
    text = getattr(reason, "verify_message", None) or getattr(reason, "strerror", None) or type(reason).__name__
    return "".join(c if c.isprintable() else " " for c in str(text))[:120]
