"""Checkpoints that are truncated, damaged, half written or written to a full disk."""

import errno
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.npz import read_npz, write_npz
from nas.runs.checkpoints import load_checkpoint, previous_checkpoint, save_checkpoint


@pytest.fixture
def path(tmp_path) -> Path:
    """A checkpoint of epoch 2 with that of epoch 1 beside it."""
    for epoch in (1, 2):
        save_checkpoint(tmp_path / "c.pt", state(epoch))
    return tmp_path / "c.pt"


def state(epoch: int) -> dict:
    return {"epoch": epoch, "weights": torch.full((500,), float(epoch))}


def damages() -> list:
    def truncated(data: bytes) -> bytes:
        return data[: len(data) // 2]

    def one_bit(data: bytes) -> bytes:
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    def without_its_last_byte(data: bytes) -> bytes:
        return data[:-1]

    def zeros(data: bytes) -> bytes:
        return bytes(len(data))

    def empty(data: bytes) -> bytes:
        return b""

    return [truncated, one_bit, without_its_last_byte, zeros, empty]


def test_the_last_two_are_kept_and_no_more(path):
    save_checkpoint(path, state(3))
    assert load_checkpoint(path)["epoch"] == 3
    assert load_checkpoint(previous_checkpoint(path))["epoch"] == 2
    assert sorted(file.name for file in path.parent.iterdir()) == ["c.previous.pt", "c.pt"]


def test_torch_reads_a_checkpoint_too(path):
    assert torch.load(path, weights_only=True)["epoch"] == 2


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_one_falls_back_to_the_one_before_with_a_warning(path, damage, capsys):
    path.write_bytes(damage(path.read_bytes()))
    assert load_checkpoint(path)["epoch"] == 1
    warned = capsys.readouterr().err
    assert "warning" in warned
    assert str(path) in warned
    assert str(previous_checkpoint(path)) in warned


def test_a_damaged_one_never_pushes_out_the_whole_one_before(path):
    path.write_bytes(path.read_bytes()[:-100])
    save_checkpoint(path, state(2))
    assert load_checkpoint(previous_checkpoint(path))["epoch"] == 1
    assert load_checkpoint(path)["epoch"] == 2


def test_a_process_that_dies_between_two_renamings_leaves_the_one_before(path, capsys):
    path.unlink()
    assert load_checkpoint(path)["epoch"] == 1
    assert "is missing" in capsys.readouterr().err


def test_two_damaged_ones_are_an_error_that_names_both(path):
    for file in (path, previous_checkpoint(path)):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"c\.pt is not a readable checkpoint.*c\.previous\.pt is not a readable") as e:
        load_checkpoint(path)
    assert "choose another name" in str(e.value)


def test_what_a_killed_process_had_half_written_goes_with_the_next_save(path):
    (path.parent / ".c.pt.abc").write_bytes(b"half")
    assert load_checkpoint(path)["epoch"] == 2
    save_checkpoint(path, state(3))
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("call", ["os.fsync", "os.fdopen", "tempfile.mkstemp"])
def test_a_full_disk_leaves_both_checkpoints(path, monkeypatch, call):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(call, full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, state(3))
    assert [load_checkpoint(file)["epoch"] for file in (path, previous_checkpoint(path))] == [2, 1]


def test_a_file_system_that_fills_up_leaves_the_last_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        save_checkpoint(disk / "c.pt", {"weights": torch.zeros(30_000)})
        save_checkpoint(disk / "c.pt", {"weights": torch.ones(30_000)})  # 120 kB each, and no room for a third
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(disk / "c.pt", {"weights": torch.full((30_000,), 2.0)})
        assert load_checkpoint(disk / "c.pt")["weights"][0] == 1
        assert load_checkpoint(previous_checkpoint(disk / "c.pt"))["weights"][0] == 0
        assert not list(disk.glob(".*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_cache_written_by_many_at_once_is_always_whole(tmp_path):
    """Processes and threads write alike: each into a file of its own, which then takes the name."""
    path, size, stop = tmp_path / "cache.npz", 20_000, threading.Event()
    write_npz(path, images=np.zeros(size))

    def write(value: int) -> None:
        for _ in range(4):
            write_npz(path, images=np.full(size, value))

    seen = set()

    def read() -> None:
        while not stop.is_set():
            images = read_npz(path, required=("images",))["images"]
            assert (images == images[0]).all()
            seen.add(len(images))

    writers = [threading.Thread(target=write, args=(value,)) for value in range(6)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert seen == {size}
    assert [file.name for file in tmp_path.iterdir()] == ["cache.npz"]


def test_two_processes_build_one_cache(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from nas.data.npz import write_npz, read_npz\n"
        "path = Path(sys.argv[1])\n"
        "for i in range(20):\n"
        "    write_npz(path, images=np.full(50000, int(sys.argv[2])))\n"
        "    images = read_npz(path, required=('images',))['images']\n"
        "    assert (images == images[0]).all()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "cache.npz"), str(value)]) for value in (1, 2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert read_npz(tmp_path / "cache.npz", required=("images",))["images"][0] in (1, 2)
