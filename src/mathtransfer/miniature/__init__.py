"""Our small world: twelve families of problems, the corpus that the base reads, and the base itself.

facts.py       word lists, and facts that only memory can answer
families.py    the twelve families and their splits
traces.py      how solutions are written down: the base's short styles, the long traces to learn from
corpus.py      the pre-training mixture
vocabulary.py  the tokenizer
pretrain.py    architecture and pre-training
base/          the base that ships
"""
