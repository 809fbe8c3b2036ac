"""The colours of a report, by role, on a light page and on a dark one."""

from nas.reporting.plots import PALETTE

ON_DARK = ("#56b4e9", "#f0884a", "#3fc796", "#e08fc0", "#f0c649", "#a5d8ff", "#9aa4af")
NUM_SERIES = len(PALETTE)

ROLES: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#1c2128", "#e3e8ee"),
    "soft": ("#59636e", "#9ba6b2"),
    "grid": ("#e9ecef", "#232a32"),
    "rule": ("#c3c9d0", "#3d4650"),
    **{f"s{number}": colours for number, colours in enumerate(zip(PALETTE, ON_DARK, strict=True))},
}
"""Of each role the colour on a light page, and on a dark one; `s0` to `s6` are those of the series."""


def series_role(number: int) -> str:
    """Returns the role of a series, counted from 0; after the last colour the first comes again."""
    return f"s{number % NUM_SERIES}"


def variables(*, dark: bool) -> str:
    """Returns the colours as CSS variables, `--ink:#1c2128;…`."""
    return "".join(f"--{role}:{colours[dark]};" for role, colours in ROLES.items())


def with_colours(sheet: str, *, dark: bool) -> str:
    """Returns a style sheet with colours in the place of variables, for viewers that know no variables."""
    for role, colours in ROLES.items():
        sheet = sheet.replace(f"var(--{role})", colours[dark])
    return sheet
