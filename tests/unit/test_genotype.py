import json

import pytest

from search_spaces.genotype import MAX_JSON_BYTES, Block, CellGenotype, Decision, Genotype


def test_json_round_trip_keeps_everything():
    cell = CellGenotype(
        blocks=(Block((0, 1), ("sep_conv_3x3", "identity")), Block((2, 0), ("max_pool_3x3", "conv_1x1"))),
        mixer="identity",
        num_inputs=2,
        outputs=(2, 3),
    )
    genotype = Genotype(space="pairs", normal=cell)
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert json.loads(genotype.to_json()) == genotype.to_dict()


def test_loose_ends_are_the_blocks_nobody_reads():
    cell = CellGenotype(blocks=(Block((0,), ("a",)), Block((1,), ("b",)), Block((0,), ("c",)), Block((1,), ("d",))))
    assert cell.loose_ends == (2, 3, 4)
    assert cell.output_nodes == (2, 3, 4)


def test_explicit_outputs_replace_loose_ends():
    cell = CellGenotype(blocks=(Block((0,), ("a",)), Block((1,), ("b",))), outputs=(1, 2))
    assert cell.loose_ends == (2,)
    assert cell.output_nodes == (1, 2)


def test_genotypes_are_hashable_and_equal_by_value(genotype):
    assert hash(Genotype.from_json(genotype.to_json())) == hash(genotype)
    assert list(genotype.cells) == ["normal", "reduction"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Block((0,), ()), "as many inputs as ops"),
        (lambda: Block((0, 1), ("a",)), "as many inputs as ops"),
        (lambda: CellGenotype(blocks=()), "1 to 64 blocks"),
        (lambda: CellGenotype(blocks=(Block((1,), ("a",)),)), "block 0 reads node 1"),
        (lambda: CellGenotype(blocks=(Block((-1,), ("a",)),)), "block 0 reads node -1"),
        (lambda: CellGenotype(blocks=(Block((0,), ("a",)),), outputs=(2,)), "outputs must lie in"),
        (lambda: CellGenotype(blocks=(Block((0,), ("a",)),), outputs=(1, 1)), "each once"),
        (lambda: Decision("normal", 0, "op", ()), "no choices"),
        (lambda: Decision("normal", 0, "op", ("a", "a")), "twice"),
    ],
)
def test_impossible_values_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "genotype: Input should be a dictionary"),
        ({"space": "s"}, "normal: Field required"),
        ({"space": 3, "normal": {"blocks": []}}, "space: Input should be a valid string"),
        ({"space": "s", "normal": {"blocks": 3}}, r"normal\.blocks: Input should be a valid list"),
        ({"space": "s", "normal": {"blocks": [{"inputs": [0]}]}}, r"normal\.blocks\[0\]\.ops: Field required"),
        ({"space": "s", "normal": {"blocks": [{"inputs": [True], "ops": ["a"]}]}}, r"inputs\[0\]: .*integer"),
        ({"space": "s", "normal": {"blocks": [{"inputs": [0.5], "ops": ["a"]}]}}, r"inputs\[0\]: .*integer"),
        (
            {"space": "s", "normal": {"blocks": [{"inputs": [0], "ops": ["a" * 65]}]}},
            r"ops\[0\]: .*at most 64 characters",
        ),
        ({"space": "s", "normal": {"blocks": [{"inputs": [0], "ops": ["a"]}] * 65}}, "at most 64 items.*65"),
        ({"space": "s", "normal": {"blocks": [{"inputs": [4], "ops": ["a"]}]}}, "normal: block 0 reads node 4"),
        ({"space": "s", "normal": {"blocks": [{"inputs": [0], "ops": ["a"]}]}, "more": 1}, "more: Unexpected field"),
    ],
)
def test_bad_data_is_refused_with_field_and_rule(data, message):
    with pytest.raises(ValueError, match=message):
        Genotype.from_dict(data)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "x" * (MAX_JSON_BYTES + 1), "NaN", "\x00"])
def test_text_that_is_no_genotype_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON|dictionary"):
        Genotype.from_json(text)
