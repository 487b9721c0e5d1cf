"""The words for what the nouns hold."""

import pytest

from reportgen.entities import Run, describe_runs

CLASS = Run(1, "class token")


@pytest.mark.parametrize(
    ("runs", "noun", "words"),
    [
        ((CLASS, Run(196, grid=(14, 14))), "key", "197 keys = 1 class token + 14 × 14"),
        (
            (CLASS, Run(4, "register token"), Run(4, grid=(2, 2))),
            "token",
            "9 tokens = 1 class token + 4 register tokens + 2 × 2",
        ),
        ((Run(8, grid=(2, 2, 2)),), "key", "8 keys = 2 × 2 × 2"),
        ((Run(100, "object query"),), "query", "100 queries = 100 object queries"),
        ((Run(100),), "query", "100 queries"),
        ((Run(5, "token of weight"),), "token", "5 tokens = 5 tokens of weight"),
        ((Run(100, "token"),), "key", "100 keys"),
        ((Run(1, "token"),), "token", "1 token"),
        ((Run(2500, "token"), Run(4, grid=(2, 2))), "token", "2,504 tokens = 2,500 tokens + 2 × 2"),
        ((Run(3), Run(4, grid=(2, 2))), "key", "7 keys"),
        ((), "query", "0 queries"),
    ],
)
def test_tokens_in_words(runs: tuple[Run, ...], noun: str, words: str) -> None:
    assert describe_runs(runs, noun) == words
