"""What is typed after a command: read in any order, quoted for Hydra, explained where it is wrong, and completed."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from nas.cli import hydra_overrides
from nas.command_line.commands import COMMANDS, usage
from nas.command_line.completion import candidates, complete
from nas.command_line.conf_files import HIDDEN, read_command
from nas.command_line.help import command_help
from nas.command_line.mistakes import REFUSED, check, check_files, explain
from nas.command_line.words import Words, quote, read_words
from nas.jobs.building.config import _check_value, arguments

CHOICES = {
    "pipeline": ("experiment=toy", "experiment=nasbench201", "experiment=cifar10_small"),
    "search": ("experiment=nasbench201", "controller=enas", "controller=ppo", "controller=reinforce"),
    "retrain": ("experiment=toy",),
}


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


def composed(command: str, *arguments: str) -> DictConfig:
    """What Hydra makes of the arguments of a command."""
    words = read_words(command, arguments)
    return compose(command, overrides=hydra_overrides(command, words))


def mistake(command: str, *arguments: str) -> str:
    """What is said of a command line that cannot be composed, or whose values cannot be."""
    words = read_words(command, arguments)
    try:
        cfg = compose(command, overrides=hydra_overrides(command, words))
    except Exception as error:
        return explain(error, command, words)
    try:
        check(command, cfg, words)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cfg", "job", "a=1", "b=2"),
        ("a=1", "--cfg", "job", "b=2"),
        ("a=1", "b=2", "--cfg=job"),
    ],
)
def test_options_and_settings_come_in_any_order(arguments):
    assert read_words("search", arguments) == Words(("--cfg", "job"), ("a=1", "b=2"))


def test_options_keep_their_values():
    words = read_words("retrain", ["--config-dir", "mine/configs", "x=1", "-m", "--cfg", "job", "y=2", "~z"])
    assert words.folders == ["mine/configs"]
    assert words.options == ("--config-dir", "mine/configs", "-m", "--cfg", "job")
    assert words.several
    assert words.overrides == ("x=1", "y=2", "~z")
    assert words.values == {"x": "1", "y": "2"}
    assert read_words("runs", ["--compare", "a b", "c"]).overrides == (
        "compare=[a b,c]",
    )  # which Hydra reads as two names


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--cfgg", "job"], "--cfgg; did you mean --cfg"),
        (["--config-dir"], "--config-dir takes a value"),
        (["results/runs/four"], "results/runs/four.* KEY=VALUE"),
        (["--compare", "a"], "--compare A B"),
    ],
)
def test_a_word_that_is_neither_option_nor_setting_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        read_words("runs", arguments)


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [
        ("search", "name", "ünïcode名"),
        ("search", "name", "2024"),
        ("search", "name", "1e3"),
        ("predict", "images", "my photos (1)"),
        ("predict", "images", "a,b.png"),
        ("search", "data.root", "/data/José/x y"),
        ("search", "data.root", "back\\slash's"),
        ("search", "data.root", "trailing\\"),
        ("show", "genotype", "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|none~2|"),
    ],
)
def test_a_value_means_what_the_shell_passes(command, key, value):
    more = ["data=cifar10"] if key.startswith("data.") else []
    assert OmegaConf.select(composed(command, *more, f"{key}={value}"), key) == value


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="$"), min_size=1))
def test_any_text_passes_as_a_name(text):
    value = text.strip()
    if value and value != "null" and value[0] not in "'\"":
        assert OverridesParser.create().parse_override(quote(f"name={value}")).value() == value


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("name=a#b c", "a#b c"),
        ("images=[my #1.png,*.png,my photos (1)]", ["my #1.png", "*.png", "my photos (1)"]),
        ("images=[2024,é,it's a.png]", ["2024", "é", "it's a.png"]),
        ("images=[ab].png", "[ab].png"),
        ('name="unbalanced', '"unbalanced'),
        ("models=[a b/c,|op~0|,{genotype: enas, name: 1e3, filters: 24}]", None),
        ("runs=2024", "2024"),
        ("retrain.seeds=[0,1]", [0, 1]),
    ],
)
def test_lists_and_odd_texts_mean_what_is_typed(override, value):
    expected = ["a b/c", "|op~0|", {"genotype": "enas", "name": "1e3", "filters": 24}] if value is None else value
    assert OverridesParser.create().parse_override(quote(override)).value() == expected


def test_every_value_of_a_sweep_is_a_text_where_the_key_is_one():
    assert quote("name=1e4,b c", several=True) == "name='1e4',b c"
    assert quote("network.cells_per_stage=1,[1,2]", several=True) == "network.cells_per_stage=1,[1,2]"


def test_lists_keep_their_parts_and_quotes_their_meaning():
    assert composed("predict", "images=[my photos (1),b.png,é]").images == ["my photos (1)", "b.png", "é"]
    assert composed("latency", "models=[{genotype: enas, name: smäll}]").models == [
        {"genotype": "enas", "name": "smäll"}
    ]
    assert composed("search", "name='a#b'").name == "a#b"
    assert composed("search", "search.cost=null", "seed=3").search.cost is None
    assert quote("retrain.seeds=[0,1]") == "retrain.seeds=[0,1]"
    assert quote("seed=range(3)", several=True) == "seed=range(3)"
    assert quote("genotype=choice(enas,darts_v2)", several=True) == "genotype=choice(enas,darts_v2)"
    assert quote("images=a b (1),c", several=True) == "images='a b (1)',c"


def leaves(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key in (key for key in cfg if key not in HIDDEN):
        node = None if OmegaConf.is_missing(cfg, key) else cfg._get_node(key)
        if OmegaConf.is_dict(node) and len(node):
            yield from leaves(node, f"{prefix}{key}.")
        else:
            value = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node._value() if node else "???"
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("command", COMMANDS)
def test_the_settings_read_from_the_files_are_those_that_hydra_composes(command):
    for choices in ([], *([choice] for choice in CHOICES.get(command, ()))):
        cfg = compose(command, overrides=choices)
        found = read_command(command, choices=read_words(command, choices).values).settings
        assert {key: one.value for key, one in found.items()} == dict(leaves(cfg))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_a_sentence_two_examples_and_every_key_with_its_comment(command):
    text = command_help(command, Words((), ()))
    sentence, _, *examples = text.splitlines()
    assert sentence.endswith((".", ","))
    assert sum(f"nas {command}" in line for line in text.splitlines()) >= (1 if command == "table" else 2), examples
    for key in read_command(command).settings:
        assert f"\n  {key}=" in text
    assert "_target_" not in text


def test_every_key_of_a_command_of_its_own_has_a_comment():
    found = {command: read_command(command).settings for command in COMMANDS}
    found |= {
        name: read_command("search", choices={"controller": name}).settings for name in ("enas", "ppo", "reinforce")
    }
    assert not [(name, key) for name, settings in found.items() for key, one in settings.items() if not one.comment]
    assert "search.guard: When a search warns" in command_help("search", Words((), ()))


def test_the_examples_of_the_help_compose():
    for command in COMMANDS:
        lines = [line.strip() for line in command_help(command, Words((), ())).splitlines()[:8]]
        for line in (one for one in lines if one.startswith(f"nas {command}") and "results/runs" not in one):
            _, *typed = shlex.split(line)[1:]
            words = read_words(command, typed)
            if command != "sweep":
                assert compose(command, overrides=hydra_overrides(command, words)) is not None


def test_required_keys_are_marked_and_chosen_options_followed():
    assert "required:\n  genotype" in command_help("retrain", Words((), ()))
    assert "required:" not in command_help("pipeline", Words((), ()))
    assert "controller.population_size=25" in command_help("search", read_words("search", ["controller=evolution"]))
    assert all(f"\n  {name} " in usage() for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("search", "data=cifar"), ("data=cifar", "did you mean cifar10?")),
        (("search", "controller=lstmm"), ("did you mean lstm?", "evolution")),
        (("search", "network=shufflenas"), ("did you mean shufflenasnet?",)),
        (("search", "data=nothing_like_it"), ("digits", "image_folder")),
        (("search", "hydra/launcher=paralel"), ("did you mean parallel?",)),
        (("search", "-m", "controller=lstm,evolutoin"), ("controller=evolutoin", "did you mean evolution?")),
        (("search", "-m", "controller=lstm,evolution", "search.epoch=3"), ("search.epochs",)),
        (("search", "search.epoch=3"), ("search.epochs",)),
        (("search", "epochs=3"), ("search.epochs",)),
        (("search", "controller.learning_rate=0.01"), ("did you mean controller.optimizer.lr?",)),
        (("search", "controller=ppo", "controller.ppo_clip=0.1"), ("did you mean controller.objective.clip?",)),
        (("search", "zzz=3"), ("zzz", "nas search --help")),
        (("search", "search.epochs=many"), ("search.epochs", "a number", "many")),
        (("search", "data.flip=maybe"), ("data.flip", "true or false")),
        (("retrain", "retrain.random_turns=3"), ("retrain.random_turns", "true or false")),
        (("search", "search.epochs=1,2"), ("search.epochs=1,2", "-m")),
        (("search", "data=cifar10", "data.root=nowhere"), ("nowhere/cifar10.npz", "data.download=true")),
        (("rank", "run=nowhere"), ("nowhere", "nas runs")),
        (("search", "data=arrays", "data.path=nowhere.npz"), ("nowhere.npz",)),
        (("compare", "table.path=nowhere.csv"), ("nowhere.csv",)),
        (("report", "runs=[nowhere]"), ("nowhere", "nas runs")),
        (("predict", "run=."), ("images is not set", "images=FILE")),
        (("rank",), ("run is not set", "run=RUN or runs=RUN")),
        (("rank", "experiment=toy"), ("nas rank takes no experiment", "search")),
        (("compare", "experiment=toy"), ("experiment=toy", "data", "nas compare")),
        (("retrain", "experiment=nasbench201"), ("evaluator", "nas retrain", "search")),
        (("retrain", "experiment=tune_lstm"), ("compare", "nas retrain")),
        (("search", "experiment=cifar10_smal"), ("did you mean cifar10_small?",)),
        (("search", "search.epochs=0"), ("search.epochs must be ", "got 0")),
        (("search", "search.epochs=3.5"), ("search.epochs must be ", "integer, got 3.5")),
        (("latency", "genotype=enas", "latency.batch_sizes=1"), ("latency.batch_sizes must be a list, got 1",)),
        (("retrain", "genotype=enas", "retrain.seeds=3"), ("retrain.seeds must be a list, got 3",)),
        (("search", "search.cost=latncy"), ("search.cost must be ", "'parameters'", "latncy")),
        (("search", "search.guard.action=stpo"), ("search.guard.action must be 'warn', ", "'stpo'")),
        (("search", "runtime.autocast=fp17"), ("runtime.autocast must be ", "'bf16'", "fp17")),
        (("export", "run=.", "format=onxn"), ("format must be one of onnx", "onxn")),
        (("permutations", "tasks=[two_layer,foo]"), ("tasks must be one of graph_matching", "foo")),
        (("predict", "run=.", "images=.", "predict.resize=no"), ("predict.resize must be 'crop', ", "'no'")),
        (("retrain",), ("genotype is not set", "darts_v2")),
        (("latency",), ("genotype is not set", "models=[RUN,RUN]")),
        (("show",), ("genotype is not set",)),
        (("search", "data=image_folder", "data.root=nope"), ("data.root=nope is not there",)),
        (("search", "+search.epoch=4"), ("search.epoch is unknown; did you mean epochs?",)),
    ],
)
def test_a_mistake_is_told_in_a_line_with_its_cure(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = mistake(*line)
    assert len(text.splitlines()) <= 3
    assert "+" not in text
    assert all(one in text for one in said), text


def test_files_that_nobody_typed_and_data_of_ones_own_are_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_files(composed("table"), Words((), ()))
    own = {"data": {"_target_": "nas.data.named.torchvision_images", "name": "mine"}, "runs": ["absent"]}
    check_files(OmegaConf.create(own), Words((), ()))


def test_a_config_that_is_no_yaml_is_named_in_a_line(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("search: {epochs: [\n")
    words = read_words("search", ["--config-dir", str(tmp_path), "experiment=mine"])
    with pytest.raises(ValueError, match=r"mine\.yaml is no YAML"):
        command_help("search", words)
    assert len(explain(ValueError("a line\nanother"), "search", words).splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_the_toy_experiment_works_or_is_refused_in_a_line_for_every_command(command):
    if "experiment" in read_command(command).groups and command != "compare":
        assert composed(command, "experiment=toy") is not None
    else:
        assert len(mistake(command, "experiment=toy").splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_no_default_refuses_a_type_that_its_key_takes(command):
    """Types are judged by the default, before anything is imported; annotations have the last word."""
    samples = {str: "text", int: 3, float: 0.5, list: [1]}
    hints = dict(annotations(compose(command)))
    for key, setting in read_command(command).settings.items():
        for kind in REFUSED.get(type(setting.value), ()):
            if key in hints:
                with pytest.raises(ValueError, match=key):
                    _check_value(samples[kind], hints[key], key)


def annotations(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The annotation that each key is checked against when it is built."""
    target = OmegaConf.select(cfg, "_target_")
    if target is not None:
        hints = arguments(get_object(target)) or {}
        yield from ((f"{prefix}{key}", hints[key]) for key in cfg if key in hints)
    for key in cfg:
        node = None if OmegaConf.is_missing(cfg, key) else cfg._get_node(key)
        if OmegaConf.is_dict(node):
            yield from annotations(node, f"{prefix}{key}.")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nas sea", {"search "}),
        ("nas search data=ci", {"data=cifar10", "data=cifar100"}),
        ("nas search search.e", {"search.epochs="}),
        ("nas search sea", {"search.", "search_space=", "search_space."}),
        ("nas search controller=evolution controller.p", {"controller.population_size="}),
        ("nas search data.flip=", {"data.flip=true", "data.flip=false"}),
        ("nas retrain genotype=darts", {"genotype=darts_v1", "genotype=darts_v2"}),
        ("nas retrain genotype=fol", {"genotype=folder/"}),
        ("nas search --c", {"--cfg ", "--config-dir ", "--config-name ", "--config-path "}),
        ("FOO=1 /usr/bin/nas search data=dig", {"data=digits"}),
        ("nas nothing ", set()),
    ],
)
def test_the_next_word_is_completed(line, expected, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert set(candidates(line)) == expected


def test_a_shell_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="bash, fish, zsh"):
        complete("install=tcsh", line="")


@pytest.fixture
def program(tmp_path) -> dict[str, str]:
    """An environment in which `nas` is this package's."""
    script = tmp_path / "bin" / "nas"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nas "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


BASH_KEYS = r"""
eval "$(nas -sc install=bash)"
complete_line() {
    COMP_LINE="$1"; COMP_POINT=${#1}
    _nas_complete
    printf '%s\n' "${COMPREPLY[@]}"
}
complete -p nas
complete_line 'nas search data=ci'
complete_line 'nas retr'
"""


def test_a_real_bash_completes_groups_keys_and_commands(program, tmp_path):
    done = subprocess.run(["bash", "--norc", "-c", BASH_KEYS], env=program, capture_output=True, text=True, check=True)
    rule, *offered = done.stdout.splitlines()
    assert rule.endswith("-F _nas_complete nas")
    assert offered == ["cifar10", "cifar100", "retrain "]


def test_tab_in_an_interactive_bash_completes_a_value(program, tmp_path):
    """Keys are typed into a terminal, as a user does."""
    import pty

    main, child = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"], env={**program, "PS1": "$ "}, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    try:
        os.write(main, b'eval "$(nas -sc install=bash)"; echo re""ady\n')
        read_until(main, b"ready")
        os.write(main, b"echo nas search data=fash\t")
        os.write(main, b"\x15nas search data=fash\t")
        assert b"data=fashion_mnist" in read_until(main, b"fashion_mnist")
    finally:
        shell.kill()
        shell.wait()
        os.close(main)


def read_until(terminal: int, end: bytes) -> bytes:
    import select

    seen, deadline = b"", time.monotonic() + 60
    while end not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096)
    return seen


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell, program):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ask = {"zsh": "print -l $_comps[nas]", "fish": "complete -C 'nas search data=fash'"}[shell]
    load = {"zsh": 'eval "$(nas -sc install=zsh)"', "fish": "nas -sc install=fish | source"}[shell]
    done = subprocess.run([shell, "-c", f"{load}; {ask}"], env=program, capture_output=True, text=True, check=True)
    assert {"zsh": "_bash_complete", "fish": "data=fashion_mnist"}[shell] in done.stdout


def test_help_and_mistakes_need_no_torch(tmp_path):
    """The libraries that take seconds to load are not loaded."""
    code = """
import json, os, sys
import hydra.main
from nas.cli import main
for line in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sys.argv = ["nas", *line]
        try:
            main()
        except SystemExit:
            pass
        os._exit(1 if {"torch", "scipy", "vl_convert"} & set(sys.modules) else 0)
    if os.wait()[1]:
        sys.exit(f"heavy: {line}")
"""
    lines = [
        ["search", "--help"],
        ["search", "search.epoch=3"],
        ["search", "search.epochs=many"],
        ["search", "data=cifar10", "data.root=nowhere"],
        ["retrain", "genotype=absent.json"],
        ["retrain", "genotype=enas", "retrain.seeds=3"],
        ["latency", "genotype=enas", "latency.batch_sizes=1"],
        ["search", "runtime.autocast=fp17"],
        ["permutations", "tasks=foo"],
        ["rank", "run=nowhere"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == len(lines) - 1
    assert not list((tmp_path / "results").rglob("*.yaml"))


def test_no_experiment_is_typed_as_null():
    assert hydra_overrides("pipeline", read_words("pipeline", ["experiment=null"])) == ["~experiment"]
