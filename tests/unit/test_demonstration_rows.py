from dataclasses import dataclass

from nas.studies.demonstrations.rows import demonstration


@dataclass
class Settings:
    count: int = 2


@demonstration()
def counting(settings, *, seed, step=1):
    """Counts."""
    for number in range(settings.count):
        yield {"number": seed + step * number}
    return {"last": number}


@demonstration("even", "odd")
def sorting(settings, *, seed):
    for number in range(settings.count):
        yield {"part": ("even", "odd")[number % 2], "number": seed + number}
    return {}


def test_rows_are_handed_on_as_they_come_and_returned_with_settings_and_figures():
    seen = []
    figures = counting(Settings(), seed=5, on_row=seen.append, step=10)
    assert seen == [{"number": 5}, {"number": 15}]
    assert figures == {"settings": {"count": 2}, "rows": seen, "last": 1}
    assert counting.__doc__ == "Counts."


def test_rows_of_several_parts_are_returned_by_part_and_none_is_missing():
    seen = []
    figures = sorting(Settings(count=1), seed=0, on_row=seen.append)
    assert seen == [{"part": "even", "number": 0}]
    assert figures == {"settings": {"count": 1}, "even": [{"number": 0}], "odd": []}
