"""What a reader sees: charts and interactive elements that need no network.

theme.py         one look for all charts, one colour a setting
record_note.py   which record a chapter shows, in words
charts.py        charts of training runs and their settings; the script that draws charts offline
model_charts.py  charts of real models
format_charts.py charts of formats, and of what a change of format explains
drift_charts.py  charts of drift, and of what it predicts
study_charts.py  charts of the recorded study: effects with their intervals
frontier_charts.py  charts of what a gain costs, and of power
explorer.py      every choice behind the index as a control
token_strip.py   responses, each token coloured by how far it moved
samples.py       every sample of an evaluation
quiz.py          questions with answers to choose from
quizzes/         the questions, a file for each part of the book
slides.py        slides from the figures of executed notebooks
starters.py      exercises without their solutions
ledger_table.py  the ledger with filters
folding.py       verdicts with their statistics folded, and other long tables
verdict_grid.py  all verdicts as a picture
findings.py      the report's sentences
report_page.py   the report's figures and page
templating.py    fills the HTML of templates/, where the style sheets and scripts are too
"""
