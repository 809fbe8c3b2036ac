import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controllers.evolution import Evolution
from controllers.independent import IndependentPolicy
from controllers.lstm import LSTMPolicy
from controllers.uniform import Uniform
from nas.reporting.cells.drawing import genotype_svg
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.nasbench201 import OPS, NASBench201Space, arch_string, parse_arch_string
from search_spaces.shufflenas import ShuffleNASSpace
from search_spaces.space import size

SPACE = NASBench201Space()
ALL = [SPACE.decode(actions) for actions in itertools.product(range(5), repeat=6)]
CELLS = st.sampled_from(ALL)
NONE, SKIP, CONV1, CONV3, POOL = OPS


def cell(*ops: str) -> Genotype:
    return SPACE.decode([OPS.index(op) for op in ops])


def same(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return SPACE.canonical(cell(*first)) == SPACE.canonical(cell(*second))


def altered(**changes: object) -> Genotype:
    normal = ALL[0].normal
    fields = {"blocks": normal.blocks, "mixer": normal.mixer, "outputs": normal.outputs, **changes}
    return Genotype(space="nasbench201", normal=CellGenotype(**fields))


def test_there_are_six_decisions_of_five_ops_and_15625_cells():
    assert [d.name for d in SPACE.decisions] == [
        "normal.0.op",
        "normal.1.op",
        "normal.1.op.1",
        "normal.2.op",
        "normal.2.op.1",
        "normal.2.op.2",
    ]
    assert size(SPACE) == len(set(ALL)) == 15_625


@given(CELLS)
def test_actions_text_and_json_lead_back_to_the_cell(genotype):
    assert SPACE.decode(SPACE.encode(genotype)) == genotype
    assert parse_arch_string(f" {arch_string(genotype)}\n") == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


def test_the_text_is_that_of_the_paper():
    text = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|none~1|skip_connect~2|"
    genotype = parse_arch_string(text)
    assert genotype == cell(POOL, CONV1, SKIP, CONV3, NONE, SKIP)
    assert genotype.normal.blocks[2] == Block(inputs=(0, 1, 2), ops=(CONV3, NONE, SKIP))
    assert arch_string(genotype) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("|none~0|+|none~0|none~1|", "expected |op~0|"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+", "expected |op~0|"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "expected |op~0|"),
        ("none~0+none~0|none~1+none~0|none~1|none~2", "expected |op~0|"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "edge 1 of node 2 must end in ~1, got 'none~0'"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "edge 0 of node 1 must end in ~0"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "the op 'conv' is not in this space; it has none, "),
        ("|" + 300 * "n", "at most 256 characters, got 301"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        parse_arch_string(text)
    assert message in str(raised.value)


@given(st.text(alphabet="|+~012nonesk_ip", max_size=80) | CELLS.map(arch_string))
def test_any_text_is_read_as_what_it_says_or_refused(text):
    try:
        genotype = parse_arch_string(text)
    except ValueError:
        return
    assert arch_string(genotype) == text.strip()


@pytest.mark.parametrize(
    "genotype",
    [
        altered(blocks=ALL[0].normal.blocks[:2], outputs=(2,)),
        altered(blocks=(Block((0,), (NONE,)), Block((0, 1), (NONE, NONE)), Block((0, 2, 1), (NONE, NONE, NONE)))),
        altered(mixer="channel_shuffle"),
        altered(outputs=None),
        altered(blocks=(Block((0,), ("conv_1x1",)), *ALL[0].normal.blocks[1:])),
        Genotype(space="nasbench201", normal=ALL[0].normal, reduction=ALL[0].normal),
        ShuffleNASSpace(blocks=3).decode([0] * 12),
    ],
)
def test_cells_of_another_form_are_refused(genotype):
    for use in (SPACE.encode, SPACE.canonical, arch_string):
        with pytest.raises(ValueError, match=r"space|nasbench201"):
            use(genotype)


@pytest.mark.parametrize(
    ("actions", "message"), [([0] * 5, "expected 6 actions"), ([0, 0, 0, 0, 0, 5], "op.2 has choi")]
)
def test_wrong_actions_are_refused(actions, message):
    with pytest.raises(ValueError, match=message):
        SPACE.decode(actions)


def test_there_are_5260_families_of_functions():
    assert len({SPACE.canonical(genotype) for genotype in ALL}) == 5_260


def test_families_are_those_that_brute_force_over_the_names_of_weights_finds():
    """Written out in full, two cells are one family exactly if a renaming of one's weights makes them one text.

    Without the 3x3 convolution, for the sake of time: it is treated as the other.
    """
    keys, texts = [], []
    for genotype in ALL:
        if CONV3 not in _ops(genotype):
            orders = itertools.permutations("abcdef"[: _ops(genotype).count(CONV1)])
            texts.append(min(_written_out(genotype, names) for names in orders))
            keys.append(SPACE.canonical(genotype))
    assert len(keys) == 4**6
    assert len(set(zip(keys, texts, strict=True))) == len(set(keys)) == len(set(texts))


def _ops(genotype: Genotype) -> list[str]:
    return [op for block in genotype.normal.blocks for op in block.ops]


def _written_out(genotype: Genotype, names: tuple[str, ...]) -> str:
    """The output as nested sums, the convolutions of the edges called by the names in turn."""
    left = iter(names)
    sums: list[tuple[str, ...]] = [("x",)]
    for block in genotype.normal.blocks:
        terms: list[str] = []
        for source, op in zip(block.inputs, block.ops, strict=True):
            name = next(left) if op in (CONV1, CONV3) else ""
            if op == SKIP:
                terms += sums[source]
            elif op != NONE and sums[source]:
                terms.append(f"{op}{name}({'+'.join(sums[source])})")
        sums.append(tuple(sorted(terms)))
    return "+".join(sums[3])


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        # an edge of none is no edge, and what reads zero is zero
        ((NONE, NONE, CONV1, SKIP, CONV3, NONE), (NONE, NONE, NONE, SKIP, NONE, POOL), True),
        ((NONE, NONE, NONE, NONE, CONV1, POOL), (CONV3, CONV3, CONV3, NONE, NONE, NONE), True),
        # a skip hands on its source
        ((CONV3, NONE, SKIP, NONE, NONE, SKIP), (CONV3, NONE, NONE, NONE, SKIP, NONE), True),
        ((SKIP, NONE, CONV3, NONE, NONE, SKIP), (NONE, NONE, NONE, CONV3, NONE, NONE), True),
        # the inner nodes trade places
        ((CONV1, CONV3, NONE, NONE, SKIP, POOL), (CONV3, CONV1, NONE, NONE, POOL, SKIP), True),
        # what is added twice is not what is added once
        ((SKIP, NONE, NONE, SKIP, SKIP, NONE), (NONE, NONE, NONE, SKIP, NONE, NONE), False),
        # two pools of one value are one, two convolutions are not
        ((POOL, POOL, NONE, NONE, SKIP, SKIP), (POOL, SKIP, NONE, NONE, SKIP, POOL), True),
        ((POOL, NONE, SKIP, NONE, CONV1, CONV3), (POOL, POOL, NONE, NONE, CONV1, CONV3), True),
        ((CONV1, NONE, SKIP, NONE, CONV1, CONV3), (CONV1, CONV1, NONE, NONE, CONV1, CONV3), False),
        ((CONV1, NONE, NONE, NONE, SKIP, NONE), (CONV3, NONE, NONE, NONE, SKIP, NONE), False),
    ],
)
def test_keys_are_equal_for_cells_that_compute_the_same(first, second, equal):
    assert same(first, second) is equal


@pytest.mark.parametrize("controller", [LSTMPolicy, IndependentPolicy, Uniform, Evolution])
def test_controllers_take_its_decisions(controller):
    actions = controller(SPACE.decisions).sample(20).actions
    assert actions.shape == (20, 6)
    assert all(SPACE.encode(SPACE.decode(row)) == tuple(row) for row in actions.tolist())


def test_the_lstm_policy_adds_up_to_one_over_all_cells():
    with torch.no_grad():
        log_prob = (
            LSTMPolicy(SPACE.decisions, hidden_size=4, init_range=2.0)
            .double()
            .log_prob(torch.cartesian_prod(*[torch.arange(5)] * 6))
        )
    assert log_prob.exp().sum().item() == pytest.approx(1.0)


def test_a_cell_can_be_drawn():
    assert "skip_connect" in genotype_svg(cell(*[SKIP] * 6), title="cell", merge="sum")


def test_a_supernet_has_every_op_of_every_edge():
    (candidates,) = SPACE.candidates().values()
    assert len(candidates.edges) == 6 * 4
    for genotype in ALL:
        assert candidates.edges >= {edge for edge in genotype.normal.edges if edge[3] != NONE}
