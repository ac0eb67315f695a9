"""The report: one HTML file that opens without a server or a network, with every figure, table and answer."""

from analysis.report.build import write

__all__ = ["write"]
