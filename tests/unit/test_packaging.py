"""What is built is what is declared: one version, the licence's text, a list of changes."""

import email
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import nas

ROOT = Path(__file__).parents[2]


def test_the_version_has_one_place_and_the_changes_begin_with_it():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in declared["project"]
    assert declared["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "nas.__version__"}
    headings = [line for line in (ROOT / "nas" / "CHANGES.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0] == f"## {nas.__version__}"


def test_a_wheel_holds_the_licence_and_the_version(tmp_path):
    pytest.importorskip("setuptools")
    script = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "nas", "search_spaces", "controllers", "conf"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=source, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        folder = f"shufflenas-{nas.__version__}.dist-info"
        assert archive.read(f"{folder}/licenses/nas/LICENSE") == (ROOT / "nas" / "LICENSE").read_bytes()
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        assert "nas/CHANGES.md" in archive.namelist()
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "nas/LICENSE")
    assert metadata["Version"] == nas.__version__
