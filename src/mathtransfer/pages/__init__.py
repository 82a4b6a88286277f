"""What a reader sees: charts and interactive elements that need no network.

charts.py        one theme, a function for each kind of chart
explorer.py      every choice behind the index as a control
token_strip.py   responses, each token coloured by how far it moved
samples.py       every sample of an evaluation
ledger_table.py  the ledger with filters
report_page.py   the report's sentences, figures and page
"""
