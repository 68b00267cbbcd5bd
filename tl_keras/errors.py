"""The one error that means: the user's input is wrong (exit code 2, one line, no traceback)."""


class InputError(ValueError):
    """Input that the user can mend; the message reads `expected X, received Y, do Z` on one line.

    >>> raise InputError("--epochs: expected at least 1, received 0; give a positive number")
    Traceback (most recent call last):
    ...
    tl_keras.errors.InputError: --epochs: expected at least 1, received 0; give a positive number
    """
