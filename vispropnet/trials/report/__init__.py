"""The report of the trials: one HTML page."""

from vispropnet.trials.report.page import write_report

__all__ = ['write_report']
