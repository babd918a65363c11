"""What was sent last, so that the same digest is not sent twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

from monitor.digest.config import DigestError

__all__ = ["Memory"]

_MOST = 200


class Memory:
    """Fingerprints of the digests that were sent, by channel, archive and night.

    Parameters
    ----------
    path : Path
        A small JSON file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sent: dict[str, str] = {}
        self.trouble = ""
        try:
            found = json.loads(path.read_text("utf-8"))
            self._sent = {str(k): str(v) for k, v in found["sent"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Better twice than never.
            self.trouble = f"{path} cannot be understood, so the digest is sent whether it was before or not"

    def knows(self, key: str, fingerprint: str) -> bool:
        """Whether that was the last digest sent under a key."""
        return self._sent.get(key) == fingerprint

    def keep(self, key: str, fingerprint: str) -> None:
        """Remember a digest; the file is written beside its place and renamed."""
        self._sent.pop(key, None)
        self._sent[key] = fingerprint
        kept = dict(list(self._sent.items())[-_MOST:])
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            try:
                with beside.open("w", encoding="utf-8") as file:
                    json.dump({"sent": kept}, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self._path)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise DigestError(
                f"sent, but state_file {self._path} cannot be written ({error.strerror}), so it will be sent again; "
                "choose a place that can be written"
            ) from None
