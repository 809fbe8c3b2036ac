import csv
import json
import math

import pytest
import torch

from nas.runs.checkpoints import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    write_bytes,
    write_csv,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"a": 1})
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_checkpoint_round_trip(tmp_path):
    state = {"rows": [{"epoch": 0, "loss": 0.5}], "w": torch.randn(3), "best": [0.5, [1, 2]], "none": None}
    save_checkpoint(tmp_path / "c.pt", state)
    loaded = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(loaded.pop("w"), state.pop("w"))
    assert loaded == state
    assert load_checkpoint(tmp_path / "absent.pt") is None


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"w": torch.randn(1000)})
    for data in (b"", b"not a checkpoint", path.read_bytes()[:2000]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="not a readable checkpoint"):
            load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"x": Evil()}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "c.pt")


def test_weights_round_trip_with_metadata(tmp_path):
    weights = {"a": torch.randn(2, 3).to(memory_format=torch.contiguous_format), "n": torch.tensor(3)}
    save_weights(tmp_path / "w.safetensors", weights, metadata={"genotype": "{}"})
    loaded = load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_weights(tmp_path / "bad.safetensors")
    with pytest.raises(FileNotFoundError, match="nas retrain"):
        load_weights(tmp_path / "absent.safetensors")


def test_json_stays_json(tmp_path):
    write_json(tmp_path / "x.json", {"a": math.nan, "b": [1, math.inf, "ü"], "c": {"d": 0.5}})
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1, None, "ü"],
        "c": {"d": 0.5},
    }


def test_csv_is_read_back_whatever_is_in_it(tmp_path):
    row = {"a,b": 'x, "y"', 'say "no"': "one\ntwo", "plain": "text"}
    write_csv(tmp_path / "x.csv", [row])
    with (tmp_path / "x.csv").open(newline="") as file:
        assert list(csv.DictReader(file, strict=True)) == [row]


def test_csv_has_every_column_and_leaves_gaps(tmp_path):
    write_csv(tmp_path / "x.csv", [{"a": 1, "b": math.nan}, {"a": 2, "c": 1 / 3, "d": "p,q"}])
    assert (tmp_path / "x.csv").read_text() == 'a,b,c,d\n1,,,\n2,,0.333333,"p,q"\n'
