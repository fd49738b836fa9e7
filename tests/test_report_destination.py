"""Where reports go: files are replaced in one step, and what goes wrong is said in a line."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter.report.destination import OutputError, check_writable, write
from tests.support.disk import mounted


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path):
    file = tmp_path / "report"
    file.write_text("old")
    file.chmod(0o640)
    check_writable(str(file))
    write("new é\r\n", str(file))
    assert file.read_bytes() == "new é\r\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [file], "nothing else is left"


def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "other").write_text("")
    write("x", str(tmp_path / "report"))
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write("x", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "x"


def test_a_pipe_is_written_and_not_replaced(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write("x", str(pipe))
    reader.join(10)
    assert read == ["x"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_by_both_names(tmp_path):
    code = "import sys; from exporter.report.destination import *; check_writable(n := sys.argv[1]); write('x', n)"
    for name in ("-", "/dev/stdout"):
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "x", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "it is a directory"),
        ("none/report", r"directory .*/none does not exist"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path, name, said):
    with pytest.raises(OutputError, match=f"cannot write {tmp_path}/.*: {said}" if name != "." else said):
        check_writable(str(tmp_path / name))


def test_a_folder_that_is_read_only_is_refused(tmp_path):
    with mounted(tmp_path / "disk") as disk:
        disk.remount("ro")
        with pytest.raises(OutputError, match="no write permission for its directory"):
            check_writable(str(disk.folder / "report"))
        with pytest.raises(OutputError, match=r"cannot write .*: Read-only file system"):
            write("x", str(disk.folder / "report"))


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path):
    with mounted(tmp_path / "disk") as disk:
        file = disk.folder / "report"
        file.write_text("old")
        disk.fill()
        with pytest.raises(OutputError, match=r"cannot write .*/report: No space left on device"):
            write("x" * 100_000, str(file))
        assert file.read_text() == "old"
        assert sorted(path.name for path in disk.folder.iterdir()) == ["ballast", "report"]


def test_a_device_that_is_full_is_an_error():
    check_writable("/dev/full")
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        write("x", "/dev/full")
    assert Path("/dev/full").is_char_device()


def test_a_character_that_standard_output_cannot_hold_is_an_error():
    lines = ("from exporter.report.destination import write", "try: write('é', '-')", "except Exception as e: print(e)")
    code = "\n".join(lines)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "its encoding ascii lacks a character; set PYTHONUTF8=1" in done.stdout
