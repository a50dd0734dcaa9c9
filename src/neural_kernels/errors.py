"""The one exception that means: the user can mend this, and here is the sentence that says how."""


class UserError(Exception):
    """Bad input: what was found, where, and what was expected, in one sentence.

    The command line prints the sentence without a traceback and exits with status 2.
    """
