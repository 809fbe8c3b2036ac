"""The HTML page of a report.

Modules:
    contents: The sections of a report, from its runs: what no run has the files for is left out.
    live: Keeps the page of runs up to date while they are at work.
    records: Run folders as a report reads them.
    report: Reports: one HTML page which fetches nothing, and its figures and tables as files.
    summary: One row a run: what was searched, what was found, what it reached and what it cost.
"""
