"""The front door: `python -m tl_keras.run NAME [options]`; `list` names the experiments and commands.

Exit codes: 0 done, 2 the user's input is wrong (one line), 1 anything else, to be stopped among it. TensorFlow is
imported only when work starts, so `--help` and usage errors answer at once.
"""

from __future__ import annotations

import sys

from tl_keras import stopping
from tl_keras.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    >>> main(["list"])
    0
    """
    try:
        with stopping.on_signals():
            from tl_keras import command_line  # late, since it imports much, and may be stopped meanwhile

            return command_line.answer(sys.argv[1:] if arguments is None else arguments)
    except BaseException as error:
        if stopping.asked(error):
            print("\nstopped", file=sys.stderr)
            return 1
        if isinstance(error, InputError):
            print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
            return 2
        raise


if __name__ == "__main__":
    sys.exit(main())
