"""Options: from keyword arguments and TOML, checked, with the nearest names where one is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from reportgen.errors import UsageError
from reportgen.options import Options, Request, make_options, read_request

EVERY_KEY: dict[str, tuple[str, Any]] = {
    "nodes": ('["conv1", "layer*"]', {"conv1": "", "layer*": ""}),
    "exclude": ('["fc"]', ("fc",)),
    "tracer": ('"eager"', "eager"),
    "deep": ("true", True),
    "figures": ('["channel_sum", "channel_grid"]', ("channel_sum", "channel_grid")),
    "title": ('"Übersicht"', "Übersicht"),
    "base_url": ('"https://example.org/report"', "https://example.org/report/"),
    "scale": ('"symmetric"', "symmetric"),
    "cmap": ('"magma"', "magma"),
    "max_channels": ("64", 64),
    "size": ("[96, 128]", (96, 128)),
    "mean": ("[0.5, 0.25, 0.125]", (0.5, 0.25, 0.125)),
    "std": ("[1, 2, 4]", (1.0, 2.0, 4.0)),
    "batch_size": ("8", 8),
    "model_arg": ("{depth = 4, sizes = [1, 2]}", {"depth": 4, "sizes": [1, 2]}),
    "device": ('"cuda:1"', "cuda:1"),
    "dtype": ('"autocast:bfloat16"', "autocast:bfloat16"),
    "max_pixels": ("1000000", 1_000_000),
    "anonymous": ("true", True),
    "prove": ("true", True),
    "skip_bad": ("true", True),
    "categories": ('["disc", "ring"]', ("disc", "ring")),
    "hypercolumns": ('{low = ["conv1", "layer1"], high = "fc"}', {"low": ("conv1", "layer1"), "high": ("fc",)}),
    "balance": ('"layers"', "layers"),
    "cka": ('"biased"', "biased"),
    "cka_examples": ('"images"', "images"),
    "channel_similarity": ('"correlation"', "correlation"),
    "overview": ("[12, 4]", (12, 4)),
    "max_filters": ("16", 16),
    "attention_query": ("[3, 4]", "3,4"),
    "arrays": ("true", True),
    "strict": ("true", True),
    "force": ("true", True),
    "resume": ("true", True),
    "quiet": ("true", True),
    "timings": ("true", True),
}
PATH_KEYS = {"captions", "statistics", "templates", "weights"}


def write(directory: Path, text: str) -> Path:
    file = directory / "report.toml"
    file.write_text(text, encoding="utf-8")
    return file


def read(directory: Path, text: str, **changes: Any) -> Request:
    return read_request(write(directory, text), changes)


def test_the_table_of_keys_is_whole() -> None:
    assert set(EVERY_KEY) | PATH_KEYS == {field.name for field in dataclasses.fields(Options)}


@pytest.mark.parametrize("key", EVERY_KEY)
def test_toml_sets_the_option_of_the_same_name(tmp_path: Path, key: str) -> None:
    text, value = EVERY_KEY[key]
    options = read(tmp_path, f"{key} = {text}\n").options
    assert getattr(options, key) == value
    assert options == dataclasses.replace(Options(), **{key: value})


@pytest.mark.parametrize("key", [key for key in EVERY_KEY if "_" in key])
def test_toml_keys_may_have_hyphens(tmp_path: Path, key: str) -> None:
    text, value = EVERY_KEY[key]
    assert getattr(read(tmp_path, f"{key.replace('_', '-')} = {text}\n").options, key) == value


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "").options == Options()


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    text = 'model = "net.py:make"\nimages = ["a.png", "pics/*.jpg"]\nout = "site"\n'
    text += 'captions = "texts"\nweights = "w.pt"\n'
    text += 'statistics = "more"\ntemplates = "house"'
    request = read(tmp_path / "conf", text)
    base = tmp_path / "conf"
    assert request.model == "net.py:make"
    assert request.directory == base
    assert request.images == (str(base / "a.png"), str(base / "pics/*.jpg"))
    assert request.out == base / "site"
    assert request.options.captions == base / "texts"
    assert request.options.statistics == base / "more"
    assert request.options.templates == base / "house"
    assert request.options.weights == str(base / "w.pt")


def test_categories_may_be_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("disc\nköln\n", encoding="utf-8")
    assert read(tmp_path, 'categories = "names.txt"').options.categories == ("disc", "köln")


def test_a_file_of_categories_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.txt"):
        read(tmp_path, 'categories = "absent.txt"')


def test_absolute_paths_in_the_file_stay(tmp_path: Path) -> None:
    request = read(tmp_path, 'images = ["/pics/a.png"]\nout = "/site"\nweights = "/w.pt"')
    assert (request.images, request.out, request.options.weights) == (("/pics/a.png",), Path("/site"), "/w.pt")


@pytest.mark.parametrize("word", ["default", "none"])
def test_words_for_weights_are_no_paths(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f'weights = "{word}"').options.weights == word


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("https://example.org", "https://example.org/"),
        ("http://localhost:8000/a/b/", "http://localhost:8000/a/b/"),
        ("https://example.org/größe", "https://example.org/größe/"),
        ("none", ""),
        ("", ""),
    ],
)
def test_an_address_on_the_web_ends_in_a_slash(given: str, read_as: str) -> None:
    assert make_options({"base_url": given}).base_url == read_as


@pytest.mark.parametrize(
    "given",
    ["example.org", "ftp://example.org/", "https://", "https:///a", "https://a b/", "https://a/?b", "//a", 3],
)
def test_what_is_no_address_on_the_web_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="base_url"):
        make_options({"base_url": given})


def test_no_templates_are_the_built_in_ones() -> None:
    assert make_options({"templates": "none"}) == Options()


def test_the_command_line_wins(tmp_path: Path) -> None:
    text = 'scale = "layer"\nnodes = ["a"]\nbatch-size = 4\ntitle = "kept"\ndeep = false'
    options = read(tmp_path, text, scale="symmetric", nodes=["b"], batch_size=2, deep=True).options
    assert (options.scale, options.nodes, options.batch_size, options.deep) == ("symmetric", {"b": ""}, 2, True)
    assert options.title == "kept"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("max-chanels", "max_channels"), ("imges", "images"), ("modle", "model"), ("batchsize", "batch_size")],
)
def test_an_unknown_key_names_the_file_and_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, f"{key} = 1")
    message = str(caught.value)
    assert "report.toml" in message
    assert f"'{key}'" in message
    assert nearest in message.split("did you mean")[1].replace("-", "_")


def test_nodes_as_a_table_give_titles(tmp_path: Path) -> None:
    nodes = read(tmp_path, '[nodes]\nlayer3 = "third stage"\n"layer1.0.*" = ""\n').options.nodes
    assert dict(nodes) == {"layer3": "third stage", "layer1.0.*": ""}
    assert list(nodes) == ["layer3", "layer1.0.*"]


def test_nodes_as_an_inline_table(tmp_path: Path) -> None:
    assert read(tmp_path, 'nodes = {layer3 = "third stage"}').options.nodes == {"layer3": "third stage"}


@pytest.mark.parametrize(
    "text",
    [
        "images = [1]",
        'images = "a.png"',
        "model = 1",
        'out = ["site"]',
        "nodes = 3",
        "nodes = [3]",
        'nodes = {layer1.relu = "a node whose name was not quoted"}',
        'exclude = ["a", 1]',
        "deep = 1",
        'deep = "yes"',
        'batch_size = "2"',
        "batch_size = -1",
        "batch_size = true",
        "max_channels = -1",
        "max_channels = 1.5",
        "size = 0",
        "size = [1, 2, 3]",
        'size = "big"',
        "size = true",
        "size = 22.5",
        'mean = "a,b,c"',
        "mean = [true]",
        "scale = 1",
        "title = []",
        "captions = 1",
        "weights = false",
        "figures = 5",
        'statistics = ["a"]',
        'hypercolumns = ["conv1"]',
        "hypercolumns = {early = 1}",
        'balance = "pixels"',
        'cka = "linear"',
        'overview = "15"',
        'overview = ["a", "b"]',
        "overview = [0, 3]",
        "overview = 15",
        "arrays = 1",
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith("report.toml: ")
    assert text.partition(" ")[0] in message
    assert "invalid literal" not in message
    assert "could not convert" not in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml"):
        read_request(tmp_path / "absent.toml", {})


@pytest.mark.parametrize("data", [b"title = ", b"title = '\xff'"], ids=["syntax", "encoding"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "report.toml").write_bytes(data)
    with pytest.raises(UsageError, match=r"report\.toml: not valid TOML"):
        read_request(tmp_path / "report.toml", {})


@pytest.mark.parametrize(
    ("given", "size"),
    [("224", (224, 224)), ("96x128", (96, 128)), ("96X128", (96, 128)), (32, (32, 32)), ([8, 9], (8, 9))],
)
def test_sizes_are_a_side_or_height_by_width(given: Any, size: tuple[int, int]) -> None:
    assert make_options({"size": given}).size == size


@pytest.mark.parametrize("given", ["0.5,0.25,1", "0.5 0.25 1", "0.5, 0.25, 1", [0.5, 0.25, 1]])
def test_numbers_come_as_text_or_list(given: Any) -> None:
    assert make_options({"mean": given}).mean == (0.5, 0.25, 1.0)


def test_figures_may_be_one_text_with_commas() -> None:
    assert make_options({"figures": "channel_sum, channel_grid,"}).figures == ("channel_sum", "channel_grid")


@pytest.mark.parametrize("nodes", ["conv1", ["conv1"], ("conv1",), {"conv1": ""}])
def test_nodes_may_be_one_or_many(nodes: Any) -> None:
    assert make_options({"nodes": nodes}).nodes == {"conv1": ""}


def test_an_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'scal'.*scale"):
        make_options({"scal": "layer"})


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().title = "x"  # type: ignore[misc]  # that is the point


def test_categories_come_from_a_list_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeffcat\ndog\u2028s\n\n".encode())
    assert make_options({"categories": ["a", "b"]}).categories == ("a", "b")
    assert make_options({"categories": "names.txt"}, directory=tmp_path).categories == ("cat", "dog\u2028s")
    (tmp_path / "names.txt").write_text("cat\n\ndog\n")
    with pytest.raises(UsageError, match="line 2 is empty"):
        make_options({"categories": tmp_path / "names.txt"})
    with pytest.raises(UsageError, match=r"missing\.txt: can't read"):
        make_options({"categories": "missing.txt"})


@pytest.mark.parametrize(
    ("given", "query"),
    [("auto", "auto"), ("class", "class"), ("mean", "mean"), ("3,4", "3,4"), (" 03, 4", "3,4"), ([0, 13], "0,13")],
)
def test_the_query_of_attention_is_a_word_or_a_position(given: Any, query: str) -> None:
    assert make_options({"attention_query": given}).attention_query == query


@pytest.mark.parametrize(
    "given", ["", "cls", "3", "3,4,5", "-1,2", "1.5,2", "a,b", [1], [True, 1], [1, 2.0], 7, None]
)
def test_another_query_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"attention_query = .*must be auto, class, mean or ROW,COLUMN"):
        make_options({"attention_query": given})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("depth=4", 4),
        ("depth=-0.5", -0.5),
        ("depth=true", True),
        ("depth=abc", "abc"),
        ('depth="4"', "4"),
        ("depth=[1, 2]", [1, 2]),
        ("depth={a = 1}", {"a": 1}),
        ("depth=a=b", "a=b"),
        ("depth=", ""),
        ("depth=2024-05-01", "2024-05-01"),
        ("depth=1\nwidth=2", "1\nwidth=2"),
        ("depth=resnet18.a1_in1k", "resnet18.a1_in1k"),
    ],
)
def test_arguments_of_the_model_are_toml_values_or_texts(text: str, value: object) -> None:
    given = make_options({"model_arg": [text]}).model_arg
    assert given == {"depth": value}
    assert type(given["depth"]) is type(value)


def test_arguments_of_the_model_may_be_any_mapping() -> None:
    assert make_options({"model_arg": {"norm_layer": dict}}).model_arg == {"norm_layer": dict}


@pytest.mark.parametrize("given", ["depth", ["a=1", "depth"], "2a=3", {"not a name": 1}, [3]])
def test_what_is_no_argument_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"^model_arg = "):
        make_options({"model_arg": given})


@pytest.mark.parametrize(
    ("name", "value"), [("device", "gpu"), ("device", "cuda:"), ("device", 0), ("dtype", "half"), ("dtype", "int8")]
)
def test_devices_and_types_that_do_not_exist_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name} = {value!r}: must be "):
        make_options({name: value})
    assert getattr(make_options({name: ""}), name) == ""
