"""The data report: what came in, what was left out and why, and what the documents look like.

`account` counts while a corpus is made; `markdown` and `page` show what report.json says.
"""

from langmill.data.report.account import Report
from langmill.data.report.advice import FEW_DOCUMENTS, too_few_to_test
from langmill.data.report.counts import SplitCount, StepCount

__all__ = ["FEW_DOCUMENTS", "Report", "SplitCount", "StepCount", "too_few_to_test"]
