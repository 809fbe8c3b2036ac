"""The report of runs: one HTML page that opens from disk and fetches nothing, and its figures and tables as files.

What is read from run folders (`records`) becomes sections (`contents`) of figures, tables and texts, which are plain
data (`figures`). Figures are laid out (`plots`, `matrices`) as drawings (`drawing`), for the page (`html`) and for
files.
"""
