"""A short run of the fuzzer of `tests/faults/fuzz.py`; `python -m tests.faults.fuzz 100000` is the long one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.models.genotype_files import load_genotype, load_genotypes, network_group
from nas.searching.table_files import Table
from search_spaces.genotype import Genotype
from tests.faults.fuzz import fuzz, readers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["space", "normal", "blocks", "inputs", "ops", "mixer", "outputs"]), inner)
    ),
    max_leaves=12,
)


def test_damaged_files_are_read_or_refused_in_the_documented_way():
    outcomes = fuzz(1400, seed=1)["outcomes"]
    refused = {name.partition(":")[0] for name in outcomes if name.endswith("refused")}
    assert len(refused) >= 12  # all but those that answer that nothing is known


def test_the_fuzzer_starts_from_files_that_are_read(tmp_path):
    for reader in readers(tmp_path):
        if reader.name not in ("genotype argument", "entry of a list", "genotype file"):
            for seed in reader.seeds:
                reader.read(seed, tmp_path)


@given(JSON)
def test_any_json_value_is_a_genotype_or_refused(data):
    try:
        genotype = Genotype.from_dict(data)
    except ValueError:
        return
    assert Genotype.from_dict(genotype.to_dict()) == genotype


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_a_table_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=str(path)):
        Table.read(path, key="no such column", reward="accuracy")


@pytest.mark.parametrize("reference", ["x" * 300, "a\0b", "x" * 300 + "#0", "a/" * 3000])
def test_a_reference_that_can_be_no_path_is_not_found(reference):
    with pytest.raises(FileNotFoundError, match="no genotype at"):
        load_genotype(reference)
    with pytest.raises(FileNotFoundError, match="no list of genotypes"):
        load_genotypes(reference)
    assert network_group(reference) is None


def test_a_config_that_is_no_text_tells_of_no_network(tmp_path):
    for data in (b"\xff\xfe\x00", b"[" * 5000, b"a: &a [*a]\nnetwork: *a\n", b"network: 3"):
        (tmp_path / "config.yaml").write_bytes(data)
        assert network_group(str(tmp_path)) is None


def test_a_long_list_of_genotypes_is_read_once(tmp_path, monkeypatch, genotype):
    (tmp_path / "many.json").write_text("[" + ",".join([genotype.to_json()] * 300) + "]")
    assert load_genotypes(tmp_path / "many.json") == [genotype] * 300
    parsed = []
    monkeypatch.setattr("nas.models.genotype_files.parse_json", lambda text: parsed.append(len(text)) or [])
    assert load_genotypes(tmp_path / "many.json") == []
    assert len(parsed) == 1
