"""One night as one file: everything Review says of it, to be opened offline, printed, sent, and kept."""

from monitor.report.page import report_html
from monitor.report.write import find_night, write_report

__all__ = ["find_night", "report_html", "write_report"]
