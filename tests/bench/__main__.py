"""All benchmarks: ``python -m tests.bench``."""

from __future__ import annotations

from tests.bench import kernels, page

kernels.main()
page.main()
