"""The morning digest: a night in a few lines, to e-mail and webhook, once per night and content."""

from monitor.digest.config import DigestConfig, DigestError, load_config
from monitor.digest.run import run_digest

__all__ = ["DigestConfig", "DigestError", "load_config", "run_digest"]
