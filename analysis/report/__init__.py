"""Report: one HTML file with every answer, figure and table, readable without a server or a network."""

from analysis.report.build import write_report

__all__ = ["write_report"]
