"""The report of a run: one HTML file that needs nothing else."""

from mobiledistill.report._write import report_from_file, write_report

__all__ = ["report_from_file", "write_report"]
