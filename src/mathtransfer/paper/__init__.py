"""What was claimed: the paper's tables and claims, and the responses that its authors released.

*.csv        the paper's tables and claims, as printed; critiques.csv: what readers reported
elsewhere/   what the paper does not print: sizes of training data and benchmarks, the authors' configuration, points
             that were read off Figure 2
reported.py  the tables as data frames, and how far each printed score may be off
survey.py    the thirty models, and how each is asked
released.py  the authors' released generations
endings.py   how a response ends, as far as its text tells
"""
