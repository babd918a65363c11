"""All benchmarks: ``python -m tests.bench``."""

from __future__ import annotations

from tests.bench import kernels, page, trends

kernels.main()
trends.main()
page.main()
