"""The pages of results keep their word: their commands compose with the settings of today, their files are there."""

import re
import shlex

import pytest

from tests.integration.readme import README, code_blocks, composed

ROOT = README.parent
PAGES = sorted((ROOT / "results/published").glob("*.md"))


def command_lines(text: str) -> list[list[str]]:
    """The `nas` command lines of a page, in its code and its sentences; `$NAME` stands for what a line sets it to."""
    code = re.sub(r"\\\n\s*", "", "\n".join(code_blocks(text)))
    for name, value in re.findall(r'^(\w+)="(.*)"$', code, flags=re.MULTILINE):
        code = code.replace(f"${name}", value)
    lines = [part for line in code.splitlines() for part in line.split(" ; ")]
    lines += [one.replace("\n", " ") for one in re.findall(r"`(nas [^`]*=[^`]*)`", text)]
    starts = [line for line in lines if line.startswith("nas ")]
    return [shlex.split(re.split(r"\s{2,}#|\s\[", line)[0])[1:] for line in starts]


def first_values(overrides: list[str]) -> list[str]:
    """The overrides of a sweep's first member; others as they are."""
    found = [re.sub(r"=(?:range\(([^\[(,]+)|([^\[(,]+)),.*", r"=\1\2", one) for one in overrides]
    return [one for one in found if one not in ("-m", "…", "...") and not one.startswith("hydra/")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_composes(page, tmp_path, monkeypatch, genotype):
    lines = command_lines(page.read_text(encoding="utf-8"))
    monkeypatch.chdir(ROOT)
    for command, *overrides in lines:
        if any(re.search(r"RUN|NAME|FILE|results/runs|KEY|…", one) for one in overrides):
            continue  # of runs that are not here
        assert composed(command, *first_values(overrides)) is not None, (command, overrides)


def test_a_command_that_is_gone_would_be_found():
    page = 'text\n\n    S="data=toy"\n    nas search $S name=x \\\n        seed=3    # why\n\n`nas show a=1`'
    first, second = command_lines(page)
    assert first == ["search", "data=toy", "name=x", "seed=3"]
    assert second == ["show", "a=1"]
    assert sum(len(command_lines(page.read_text(encoding="utf-8"))) for page in PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text)):
        if re.search(r"\b(RUN|NAME|FOLDER|DIR|N)\b", name):
            continue  # stands for any
        places = (page.parent / name, ROOT / name, page.parent / page.stem / name)
        assert any(place.exists() for place in places), f"{page.name}: {name}"
