"""How an answer can begin, which says in which format it will be given."""

FORMATS = {"at once": "answer", "in steps": "steps :", "as the teacher": "let me think ."}  # format -> its first words
OTHERWISE = "otherwise"
_BY_FIRST_WORD = {"answer": "at once", "steps": "in steps", "let": "as the teacher", "okay": "as the teacher"}


def format_of(answer: str) -> str:
    """The format of an answer by its first word: a key of `FORMATS`, or `OTHERWISE`."""
    return _BY_FIRST_WORD.get(answer.partition(" ")[0], OTHERWISE)
