"""One sweep a directory: a second is refused at once, and a dead one blocks nobody."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.lock import alone, lock

HOLD = """
import sys, time
from fastdiff.evaluation.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_writes(tmp_path, holder):
    start = time.process_time()
    with pytest.raises(FastdiffError) as caught, lock(tmp_path):
        pass
    assert time.process_time() - start < 1
    who = f"process {holder.pid} on {os.uname().nodename} since 2"
    assert str(caught.value).startswith(f"{tmp_path} is being written by {who}")
    assert str(caught.value).endswith("wait for it, or choose another --out")


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").read_text().startswith(f"process {holder.pid} ")
    with lock(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} ")


def test_it_is_free_again_after_an_error_and_not_before(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        with pytest.raises(FastdiffError, match=f"process {os.getpid()} "), lock(tmp_path):
            pass
        raise ZeroDivisionError
    with lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_written_without(tmp_path, monkeypatch):
    def refuse(number):
        def flock(file, how):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    for number in (errno.ENOLCK, errno.EOPNOTSUPP):
        refuse(number)
        with lock(tmp_path):
            pass
    refuse(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), lock(tmp_path):
        pass


def test_a_callers_lock_is_not_taken_twice_and_covers_its_folder_alone(tmp_path):
    accelerator = Accelerator(cpu=True)
    (tmp_path / "other").mkdir()
    with alone(tmp_path, accelerator) as held:
        with alone(tmp_path / "other" / "..", accelerator, held) as same:
            assert same is held
        with pytest.raises(FastdiffError, match="is being written by"), lock(tmp_path):
            pass  # still held
        with alone(tmp_path / "other", accelerator, held) as other:
            assert other is not held
        assert held.held and not other.held
    assert not held.covers(tmp_path)
