"""The numbers, verdicts and images of the page for programs: read-only, declared once in `monitor.api.routes`."""
