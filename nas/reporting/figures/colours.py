"""The colours of figures, by role, on a light page and on a dark one."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b0578d", "#b58900", "#56b4e9", "#7d8590")
"""Of series: Okabe and Ito's, safe for colour-blind readers."""
BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, GREY = range(len(PALETTE))
"""Numbers of colours in `PALETTE`."""
ON_DARK = ("#56b4e9", "#f0884a", "#3fc796", "#e08fc0", "#f0c649", "#a5d8ff", "#9aa4af")

ROLES: dict[str, tuple[str, str]] = {
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#1c2128", "#e3e8ee"),
    "soft": ("#59636e", "#9ba6b2"),
    "grid": ("#e9ecef", "#232a32"),
    "rule": ("#c3c9d0", "#3d4650"),
    **{f"s{number}": pair for number, pair in enumerate(zip(PALETTE, ON_DARK, strict=True))},
}
"""Of each role the colour on a light page, and on a dark one; `s0` to `s6` are those of the series."""
PAGE, INK, SOFT, GRID, RULE = (ROLES[role][0] for role in ("page", "ink", "soft", "grid", "rule"))


def variables(*, dark: bool) -> str:
    """Returns the colours as CSS variables, `--ink:#1c2128;…`."""
    return "".join(f"--{role}:{colours[dark]};" for role, colours in ROLES.items())


def recoloured(*, variable: bool) -> str:
    """Returns a style sheet that gives a drawing in light colours those of a dark page.

    Args:
        variable: Whether the sheet refers to the page's CSS variables, which then decide, or names dark colours.
    """
    return "".join(
        f'[{paint}="{light}"]{{{paint}:{f"var(--{role})" if variable else dark}}}'
        for role, (light, dark) in ROLES.items()
        for paint in ("fill", "stroke")
    )
