"""The jobs from Python: every example in a docstring, the same folders as the commands, and mistakes."""

import doctest
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

import nas
from nas import api
from nas.reporting import run_result
from nas.runs import console
from tests.commands import nas as run_nas

EXAMPLES = Path(__file__).parents[1] / "examples"
PUBLIC = {"latency", "load_run", "pipeline", "retrain", "search", "sweep"}
TOY = {"experiment": "toy", "epochs": 1, "blocks": 2}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_public_function_has_an_example_that_does_what_it_says(monkeypatch):
    monkeypatch.setattr(console.stdout, "quiet", True)  # what a job prints would be part of an example's output
    tests = [
        test
        for module in (api, run_result)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module)
        if test.examples
    ]
    assert {test.name.rpartition(".")[2] for test in tests} >= PUBLIC
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    said = []
    for test in tests:
        runner.run(test, out=said.append)
    assert "".join(said) == ""


def test_a_run_is_that_of_the_command(tmp_path):
    run = nas.search(**TOY, name="python")
    done = run_nas("search", "experiment=toy", "search.epochs=1", "search_space.blocks=2", "name=typed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    typed = nas.load_run("results/runs/typed")
    assert typed.genotype == run.genotype
    assert [row["reward"] for row in typed.rows()] == [row["reward"] for row in run.rows()]
    assert typed.candidates == run.candidates != []
    assert nas.search(**TOY, name="python").folder == run.folder  # finished: nothing is done again


def test_a_result_shows_itself_in_a_notebook():
    run = nas.search(**TOY, name="shown")
    assert "<svg" in run.figures["cells"]._repr_svg_()
    assert run._repr_html_().startswith("<p>search results/runs/shown · finished")
    assert repr(run).startswith("<search results/runs/shown · finished · shared accuracy")
    assert (run.metrics, run.latencies, run.rows("finals.csv")) == ({}, [], [])
    assert run.summary.state == "finished"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epohcs": 3}, "no setting 'epohcs'; did you mean epochs"),
        ({"quite_another": 3}, "no setting 'quite_another' of nas search"),
        ({"data": "digitts"}, "digitts"),
        ({"epochs": 0}, "search.epochs must be greater than 0, got 0"),
        ({"checkpoint_seconds": 1, "lr": 2, "weight": 3}, "weight could be any of controller.entropy.weight, "),
        ({"search__lr_max": "fast"}, "search.lr_max"),
        ({"data": "cifar10", "data__root": "nowhere"}, "nowhere"),
    ],
)
def test_a_mistake_is_an_error_of_one_line_and_leaves_no_folder(settings, said):
    with pytest.raises((ValueError, OSError), match=said) as raised:
        nas.search(**settings)
    assert len(str(raised.value).splitlines()) <= 3
    assert not list(Path().glob("results/runs/*"))


def test_a_notebook_that_uses_hydra_itself_keeps_what_it_initialised(tmp_path):
    (tmp_path / "mine.yaml").write_text("answer: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        nas.search(**TOY, name="within")
        nas.sweep(experiment="toy", blocks=(1, 2), name="swept", search__epochs=1, retrain__epochs=1)
        assert compose("mine", ["answer=7"]).answer == 7


def test_no_run_folder_is_said():
    with pytest.raises(FileNotFoundError, match="nowhere is no run folder"):
        nas.load_run("nowhere")


def test_ctrl_c_stops_a_job_which_then_goes_on(monkeypatch):
    def cut(search):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr("nas.searching.search.Search.candidates", cut)
        with pytest.raises(KeyboardInterrupt):
            nas.search(**TOY, name="cut")
    assert signal.getsignal(signal.SIGTERM) == handler
    assert nas.load_run("results/runs/cut").candidates == []
    assert nas.search(**TOY, name="cut").genotype == nas.search(**TOY, name="whole").genotype


@pytest.mark.parametrize("models", ["enas", ["enas"], ("enas",)])
def test_one_model_or_several_and_values_of_numpy_are_taken(models):
    shape = {"image_shape": np.array([3, 8, 8]), "num_classes": np.int64(10), "latency__batch_sizes": (1, 2)}
    run = nas.latency(models, repeats=2, name="times", **shape)
    assert [(row["model"], row["batch_size"]) for row in run.latencies] == [("enas", 1), ("enas", 2)]


def test_a_sweeps_wrong_key_is_an_error_before_anything():
    with pytest.raises(ValueError, match="no setting 'blcks'; did you mean blocks"):
        nas.sweep(experiment="toy", blcks=(1, 2))
    assert not Path("results").exists()


def test_a_sweep_that_fails_is_an_error():
    with pytest.raises(ValueError, match="the sweep did not finish"):
        nas.sweep(experiment="toy", blocks=(0, 1), name="bad", search__epochs=1, retrain__epochs=1)


def test_the_package_is_imported_without_torch_and_offers_what_it_says():
    code = "import nas, sys; assert 'torch' not in sys.modules; print(sorted(nas.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) == PUBLIC | {"RunResult", "__version__", "load_model"}
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        nas.serach  # noqa: B018


def test_the_tutorial_runs_and_ends_with_a_figure():
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / "tutorial.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    assert any("image/svg+xml" in output.get("data", {}) for output in last.outputs), json.dumps(last.outputs)[:500]
