"""What a process writes to descriptor 2: TensorFlow's remarks are lost, and nothing else is, however it ends."""

import os
import pty
import select
import signal
import subprocess
import sys

import psutil
import pytest

from tests.isolation import ROOT
from tl_keras import quiet

AT = "0000 00:00:1763731234.123456    4711 node_def_util.cc:680] "
REMARKS = [
    f"E{AT}NodeDef mentions attribute use_unbounded_threadpool\n",
    "W1121 15:59:31.123456  123456 cuda_executor.cc:11] dated\n",
    f"I{AT}to use available CPU instructions\nTo enable the following instructions: AVX2\n",
    f"E{AT}{'long ' * 2000}\nand longer\n",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
]
WORDS = [
    f"F{AT}Check failed: it is the end\n",
    "*** Check failure stack trace: ***\n    @ 0x7f\n",
    "malloc(): corrupted top size\n",
    "\r 50%|#####     |",
    f"of a file: E{AT}\n",
    "E0000 is an error code\n",
    "\x1b[31m\xe9\xff\n",
    "long " * 2000 + "\n",
    "no end of line",
]


def command(*lines):
    """Python that runs `lines` behind the filter."""
    return [sys.executable, "-c", "\n".join(["import os, sys", "from tl_keras import quiet", *lines])]


def behind_filter(*lines, **environment):
    here = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command("quiet.filter_log()", *lines), capture_output=True, env=here)


def write(text):
    return f"os.write(2, {text.encode('latin-1')!r})"


# ------------------------------------------------------------------------------------- what passes


def test_remarks_vanish_and_all_else_passes_unaltered():
    mixed = [text for pair in zip(WORDS, [*REMARKS, *REMARKS], strict=False) for text in pair]
    done = behind_filter(*map(write, mixed))
    assert done.stderr.decode("latin-1") == "".join(WORDS)
    assert (done.returncode, done.stdout) == (0, b"")


def test_what_ends_a_process_is_no_part_of_a_long_remark():
    done = behind_filter(write(REMARKS[0].strip().ljust(select.PIPE_BUF, ".")), write(WORDS[0]))
    assert done.stderr.decode() == WORDS[0]


def test_what_python_writes_passes_even_where_it_looks_like_a_remark():
    text = "".join(REMARKS) + "\r 50%|é \udcff"
    done = behind_filter(f"print({text!r}, end='', file=sys.stderr)", "raise SystemExit('last words')")
    assert done.stderr == text.encode("utf-8", "backslashreplace") + b"last words\n"
    assert done.returncode == 1


def test_unbuffered_python_stays_so():
    done = behind_filter("print('no end of line', end='', file=sys.stderr)", "os._exit(3)", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (3, b"no end of line")


def test_what_has_replaced_standard_error_stays(tmp_path):
    path = str(tmp_path / "kept")
    replaced = f"sys.stderr = open({path!r}, 'w')"
    done = subprocess.run(
        command(replaced, "quiet.filter_log()", "print('kept', file=sys.stderr)", write("malloc()\n")),
        capture_output=True,
        cwd=ROOT,
    )
    assert (done.stderr, (tmp_path / "kept").read_text()) == (b"malloc()\n", "kept\n")


def test_a_traceback_passes():
    done = behind_filter("1 / 0")
    assert done.returncode == 1
    assert done.stderr.startswith(b"Traceback") and done.stderr.endswith(b"ZeroDivisionError: division by zero\n")


def test_the_words_of_a_process_that_aborts_arrive():
    done = behind_filter(write(REMARKS[0]), *map(write, WORDS), "os.abort()")
    assert (done.returncode, done.stderr.decode("latin-1")) == (-signal.SIGABRT, "".join(WORDS))


@pytest.mark.parametrize("enabled", ["before", "after"])
def test_a_crash_is_told(enabled):
    here = {"PYTHONFAULTHANDLER": "1"} if enabled == "before" else {}
    done = behind_filter("import ctypes, faulthandler", "faulthandler.enable()", "ctypes.string_at(0)", **here)
    assert done.returncode == -signal.SIGSEGV
    assert b"Segmentation fault" in done.stderr and b'File "<string>", line' in done.stderr


def test_a_terminal_stays_one():
    mine, theirs = pty.openpty()
    lines = [write(REMARKS[0]), write("malloc(): corrupted\n"), "sys.stderr.write(f'\\r 50%|{sys.stderr.isatty()}')"]
    process = subprocess.Popen(command("quiet.filter_log()", *lines), stderr=theirs, cwd=ROOT)
    os.close(theirs)
    seen = bytearray()
    try:
        while part := os.read(mine, 4096):
            seen += part
    except OSError:  # how a terminal tells that nobody can write to it any more
        pass
    os.close(mine)
    assert process.wait() == 0
    assert b"\r 50%|True" in seen and b"malloc(): corrupted\r\n" in seen and b"NodeDef" not in seen


# ------------------------------------------------------------------------------------- how it begins and ends


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_the_filter_ends_with_the_process_and_not_before(ending):
    lines = [
        "import signal",
        "quiet.filter_log()",
        "try:",
        "    print('ready', flush=True)",
        "    signal.pause()",
        "except KeyboardInterrupt:",
        f"    {write(WORDS[0])}",
        "    sys.exit('stopped')",
    ]
    process = subprocess.Popen(
        command(*lines), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) == 1 and os.getsid(started[0].pid) != process.pid
        started[0].terminate()  # as when all processes of a job are told to end
        os.killpg(process.pid, ending)
        said = process.communicate()[1]
    finally:
        process.kill()
    if ending == signal.SIGINT:
        assert process.returncode == 1 and b"stopped" in said and WORDS[0].encode() in said
    assert psutil.wait_procs(started, timeout=60)[1] == []


def test_calls_do_not_stack_nor_do_child_processes():
    lines = [
        "import psutil, subprocess",
        "quiet.filter_log()",
        f"child = {command('quiet.filter_log()', write(REMARKS[0]), write(WORDS[2]))!r}",
        "child[-1] += '\\nimport psutil; print(len(psutil.Process().children()))'",
        "subprocess.run(child)",
        "print(len(psutil.Process().children()))",
    ]
    done = behind_filter(*lines)
    assert done.stdout.split() == [b"0", b"1"], done.stderr
    assert done.stderr.decode() == WORDS[2]


@pytest.mark.parametrize(
    "line", ["sys.executable = '/bin/false'", "sys.executable = '/no/python'"], ids=["it ends at once", "not found"]
)
def test_without_a_filter_all_is_seen(line):
    lines = ["import os, sys", line, "from tl_keras import quiet", "quiet.filter_log()", write(REMARKS[0])]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr.decode()) == (0, REMARKS[0])


def test_a_process_without_standard_error_is_left_alone():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command("quiet.filter_log()", "print(sys.stderr)")],
        capture_output=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, b"None\n")


# ------------------------------------------------------------------------------------- TensorFlow itself


FATAL = """
import ctypes, os, sys
from tl_keras import quiet
from tl_keras.quiet import keras, tf
print(sorted({"keras", "tensorflow"} & set(sys.modules)))
quiet.import_tensorflow()
print(len(list(tf.data.Dataset.range(8).map(lambda x: x + 1, num_parallel_calls=2).prefetch(1))))
print(tf is not sys.modules["tensorflow"] and tf.Tensor is sys.modules["tensorflow"].Tensor)
print(keras.Model is sys.modules["keras"].Model, flush=True)
library = ctypes.CDLL(os.path.join(tf.sysconfig.get_lib(), "libtensorflow_cc.so.2"))
library.TF_AllocateTensor(1, (ctypes.c_int64 * 1)(-5), 1, ctypes.c_size_t(4))
"""


def test_tensorflow_comes_late_and_says_nothing_but_what_ends_it():
    here = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run([sys.executable, "-c", FATAL], capture_output=True, env=here)
    assert done.stdout.decode().splitlines() == ["[]", "8", "True", "True"], done.stderr
    assert done.returncode == -signal.SIGABRT
    said = done.stderr.splitlines()
    assert said[0].startswith(b"F0000") and b"Check failed" in said[0]
    assert not any(quiet.HEAD.match(line) for line in said[1:])
