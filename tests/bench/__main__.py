"""All benchmarks: ``python -m tests.bench``."""

from __future__ import annotations

from tests.bench import kernels, limits, page, share, speed, trends

speed.main()
kernels.main()
trends.main()
limits.main()
share.main()
page.main()
