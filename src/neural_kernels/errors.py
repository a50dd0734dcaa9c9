"""The one exception that means: the user can mend this, and here is the sentence that says how."""

_LONGEST = 1500


class UserError(Exception):
    """Bad input: what was found, where, and what was expected, in one sentence.

    The command line prints the sentence without a traceback and exits with status 2. It is one line of a bounded
    length, whatever a file held that it quotes: what cannot be printed is escaped, and the middle of a long text left
    out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class DamagedFile(UserError):
    """A file that an earlier stage wrote is not what it was; it has been set aside, so that it is made again."""
