"""A notebook's pictures are kept small, and look the same."""

import base64
import io

import numpy as np
import pytest

from utils.notebooks import smaller

Image = pytest.importorskip("PIL.Image")


def png(pixels: np.ndarray) -> str:
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()


def pixels(picture: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"), dtype=int)


def test_a_plot_takes_less_room_and_looks_the_same():
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, axes = plt.subplots()
    for slope in (1, 2, 3):
        axes.plot([0, 1, 2], [0, slope, slope**2])
    kept = io.BytesIO()
    figure.savefig(kept, format="png")
    plt.close(figure)
    plot = base64.b64encode(kept.getvalue()).decode()
    found = smaller(plot)
    assert len(found) < 0.7 * len(plot)
    assert np.abs(pixels(found) - pixels(plot)).mean() < 1, "of 255 steps of brightness"


def test_few_colours_stay_exactly_what_they_were():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[::2, :, 0], picture[:, ::3, 1] = 213, 94
    assert (pixels(smaller(png(picture))) == picture).all()


def test_a_picture_that_would_grow_stays_as_it_is():
    one = png(np.zeros((1, 1, 3), np.uint8))
    assert len(smaller(one)) <= len(one)


def test_what_shines_through_stays_so():
    clear = np.zeros((400, 400, 4), np.uint8)
    clear[::2, ::3, :] = 255
    assert smaller(png(clear)) == png(clear)
