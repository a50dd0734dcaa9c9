"""The one exception that means: the user can mend this, and here is the sentence that says how."""


class UserError(Exception):
    """Bad input: what was found, where, and what was expected, in one sentence.

    The command line prints the sentence without a traceback and exits with status 2.
    """


class DamagedFile(UserError):
    """A file that an earlier stage wrote is not what it was; it has been set aside, so that it is made again."""
