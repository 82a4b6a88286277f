"""The controlled study in miniature: which runs it has, how long they take, and the record of them.

grid.py       the cells of the protocol (config/study.yaml), and which of them a tier runs at which size
progress.py   what is left to run, and how long it will take
timings.py    what every notebook took
record.py     the small tables that a whole study leaves
shipping.py   the tables of a small study that ship with the package
crate.py      a finished study as a Workflow Run RO-Crate
rates.py      the rule by which learning rates were chosen
__main__.py   `python -m mathtransfer.study plan` and `follow`, for the Makefile
"""
