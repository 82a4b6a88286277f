"""One colour a setting."""

from mathtransfer.pages import theme


def test_no_two_settings_share_a_colour():
    """Not in one chart, and no setting of others has anywhere in the book the colour of one of ours."""
    others = ["tuned", "distilled", "DPO", "merged", "pruned"]
    colours = theme.setting_colours([*others, *theme.COLOURS])
    assert list(colours) == [*theme.COLOURS, *others]
    assert len(set(colours.values())) == len(colours)
    assert theme.setting_colours(["tuned"])["tuned"] == colours["tuned"]
    assert theme.setting_colours(["on-policy RL", "tuned"]) == {
        name: colours[name] for name in ("on-policy RL", "tuned")
    }
