"""The benchmark of compatible models: halves of captions, mixed indexes, and ratios."""

from pathlib import Path

import numpy as np

from benchmarks.quality.compatible import choose_half, divide, keep, mix, read_kept, texts_of


def test_half_of_the_captions_are_chosen_item_by_item() -> None:
    starts = np.array([0, 5, 10, 12])
    rows, half_starts = choose_half(starts)
    assert rows.tolist() == [0, 1, 5, 6, 7, 10]
    assert half_starts.tolist() == [0, 2, 5, 6]
    assert texts_of(starts, np.array([2, 0])).tolist() == [10, 11, 0, 1, 2, 3, 4]


def test_an_item_of_a_mixed_index_is_encoded_anew_in_both_modalities_or_in_none() -> None:
    nothing, ones = (np.full((50, 2), value, np.float32) for value in (0, 1))
    old = dict.fromkeys(("image", "text"), (nothing, nothing[:30]))
    new = dict.fromkeys(("image", "text"), (ones, ones[:30]))
    mixed = mix(old, new, seed=0)
    for place in (0, 1):
        image, text = mixed["image"][place], mixed["text"][place]
        np.testing.assert_array_equal(image, text)
        assert 0.2 < image.mean() < 0.8
        assert (image[:, 0] == image[:, 1]).all()


def test_ratios_are_those_of_means_over_seeds(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for seed in (0, 1):
        figures = {}
        for system, size in (("a", 0.5), ("b", 0.25)):
            for n_bits in (16, 32, 64, 128):
                for scoring in ("hamming", "asymmetric"):
                    noise = generator.normal(size=40) / 1000
                    rows = (size + seed / 10 + noise).astype(np.float32)
                    key = f"{system}/{n_bits}/{scoring}"
                    figures[key] = ({"recall": size + seed / 10}, {"recall": rows})
        keep(tmp_path, seed, figures)
    means, values = read_kept(tmp_path, [0, 1])
    ratio = divide(means, values, "a", "b")["64"]
    assert (ratio["smallest"], ratio["mean"], ratio["worse"]) == (round(0.55 / 0.3, 4),) * 2 + ([],)
    worse = divide(means, values, "b", "a")["64"]["worse"]
    assert sorted(worse) == ["recall, asymmetric", "recall, hamming"]
