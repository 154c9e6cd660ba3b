"""An error whose text is the whole report: one line that says what to do."""


class Problem(Exception):
    """What keeps a command from doing its work, in one line that says what to do; the exit code is 1."""
