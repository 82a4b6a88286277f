"""Our small world: twelve families of problems, the corpora that bases read, and the bases themselves.

facts.py       word lists, and facts that only memory can answer
families.py    the twelve families and their splits
traces.py      how solutions are written down: the short styles of the base, the long traces of a foreign teacher
formats.py     how an answer begins, and so in which format it is given
corpus.py      the pre-training mixture
vocabulary.py  the tokenizer
pretrain.py    architecture and pre-training
acceptance.py  the bounds that a base must keep
bases/         the bases that ship; bases.csv says what they score
worlds_tried.csv  candidates for this world, and what post-training did there
"""
