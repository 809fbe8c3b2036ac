"""The HTML page of a report.

Modules:
    contents: The sections of a report, from its runs: what no run has the files for is left out.
    html: The page: sections as HTML, one file with its style, its script and its data, which fetches nothing.
    records: Run folders as a report reads them.
    report: Writing a report: the page, and its figures and tables as files beside it.
    summary: One row a run: what was searched, what was found, what it reached and what it cost.
"""
