"""A config is a frozen dataclass; whatever does not fit it is one line that names the key."""

import dataclasses
import enum
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from utils.config import command_words, load_config, parse_args, to_dict
from utils.errors import UserError
from utils.schema import flat_defaults, flat_keys, type_name


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True)
class Model:
    n_layer: int = 4
    n_head: int = 4
    position: Literal["learned", "rope"] = "learned"
    n_kv_head: int | None = None

    def __post_init__(self):
        if self.n_layer < 1:
            raise ValueError(f"n_layer is {self.n_layer} but must be at least 1")


@dataclass(frozen=True)
class Config:
    vocab: int
    lr: float = field(default=3e-4, metadata={"help": "peak learning rate, 100% of it"})
    betas: tuple[float, float] = (0.9, 0.95)
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    model: Model = field(default_factory=Model)
    draft: Model | None = None
    text: str | None = None
    prompts: list[str] = field(default_factory=list)
    stop: tuple[str, ...] = ()
    name: str = "demo"
    out: Path = Path("out")
    compile: bool = False
    level: Level = Level.LOW
    weights: dict[str, float] = field(default_factory=dict)
    mixed: int | float = 1
    clip: float = float("inf")
    extra: Any = None


def load(*overrides, yaml=None):
    return load_config(Config, yaml, ["vocab=10", *overrides])


def fails(*overrides, yaml=None):
    with pytest.raises(UserError) as caught:
        load(*overrides, yaml=yaml)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_the_dataclass_s_own():
    assert load() == Config(vocab=10)


def test_the_last_layer_wins(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("lr: 1e-3\nmodel:\n  n_layer: 6\n  position: rope\n")
    config = load("model.n_layer=8", "model.n_layer=9", yaml=file)
    assert config.lr == 1e-3, "1e-3 is a number, also to YAML"
    assert config.model == Model(n_layer=9, position="rope")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("lr=1", "lr", 1.0),
        ("vocab=1e3", "vocab", 1000),
        ("betas=[0.8, 1]", "betas", (0.8, 1.0)),
        ("sizes=[]", "sizes", []),
        ("text=null", "text", None),
        ("text=007", "text", "007"),
        ("text=a: b, [c", "text", "a: b, [c"),
        ("text=", "text", ""),
        ("text=???", "text", "???"),
        ('prompts=["a: b", c]', "prompts", ["a: b", "c"]),
        ("stop=[x]", "stop", ("x",)),
        ("name=null", "name", "null"),
        ("name=yes", "name", "yes"),
        ("out=a/b c", "out", Path("a/b c")),
        ("compile=true", "compile", True),
        ("level=high", "level", Level.HIGH),
        ("weights={a: 1}", "weights", {"a": 1.0}),
        ("weights.b=2", "weights", {"b": 2.0}),
        ("mixed=2", "mixed", 2),
        ("mixed=2.5", "mixed", 2.5),
        ("extra={a: [1, x]}", "extra", {"a": [1, "x"]}),
        ("draft={n_layer: 2}", "draft", Model(n_layer=2)),
        ("draft.n_layer=3", "draft", Model(n_layer=3)),
    ],
)
def test_a_value_becomes_its_field_s_type(override, key, value):
    got = getattr(load(override), key)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lr=fast", ["lr", "'fast'", "float"]),
        ("vocab=1.5", ["vocab", "1.5", "int"]),
        ("vocab=true", ["vocab", "True", "int"]),
        ("lr=null", ["lr", "None", "float"]),
        ("compile=1", ["compile", "1", "true or false"]),
        ("betas=[0.9]", ["betas", "[0.9]", "list of 2 values"]),
        ("betas=[0.9, x]", ["betas[1]", "'x'", "float"]),
        ("sizes=[1, b]", ["sizes[1]", "'b'", "int"]),
        ("sizes=3", ["sizes", "3", "list of int"]),
        ("weights={a: b}", ["weights.a", "'b'", "float"]),
        ("weights=3", ["weights", "3", "mapping"]),
        ("model=3", ["model", "3", "model.n_layer="]),
        ("model.n_kv_head=x", ["model.n_kv_head", "'x'", "int or null"]),
        ("model.position=alibi", ["model.position", "'alibi'", "'learned'", "'rope'"]),
        ("model.position=rop", ["did you mean 'rope'"]),
        ("level=mid", ["level", "'mid'", "'low'", "'high'"]),
        ("mixed=x", ["mixed", "'x'", "int or float"]),
        ("draft.n_layer=x", ["draft.n_layer", "'x'", "int"]),
        ("model.n_layer=0", ["model", "n_layer is 0 but must be at least 1"]),
    ],
)
def test_a_wrong_type_names_key_value_and_type(override, words):
    message = fails(override)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("override", "guess"),
    [
        ("model.n_layers=3", "model.n_layer"),
        ("n_layer=3", "model.n_layer"),
        ("learning_rat=3", None),
        ("compil=true", "compile"),
        ("model.deep.er=1", None),
    ],
)
def test_an_unknown_key_gets_the_nearest_and_all_valid_ones(override, guess):
    message = fails(override)
    assert f"unknown key {'.'.join(override.partition('=')[0].split('.')[:2])}" in message
    assert (f"did you mean {guess!r}?" in message) == (guess is not None), message
    prefix = "model." if override.startswith("model.") else ""
    assert all(key in message for key in flat_keys(Config) if key.startswith(prefix)), message


def test_a_required_key_without_a_value_says_how_to_give_it():
    with pytest.raises(UserError, match=r"vocab has no default: give vocab=… \(int\)"):
        load_config(Config)


@pytest.mark.parametrize("override", ["lr", "=3", "a..b=1", ".lr=1"])
def test_what_is_not_an_override_is_refused(override):
    assert "write key=value" in fails(override)


def test_values_may_refer_to_others_and_to_the_project(project_root):
    config = load("text=${name}-${model.n_layer}", "out=${root:data/x}", "lr=${model.n_head}")
    assert config.text == "demo-4" and config.lr == 4.0
    assert config.out == project_root / "data" / "x"
    assert "nothing" in fails("text=${nothing}")
    assert "config" in fails("text=${name")


def test_a_missing_file_is_one_line(tmp_path):
    assert f"config file {tmp_path / 'no.yaml'} not found" in fails(yaml=tmp_path / "no.yaml")
    assert "cannot be read" in fails(yaml=tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"lr: [1, 2\nname: x\n", "line 2 is not valid YAML"),
        (b"lr: 1\nlr: 2\n", "duplicate key lr"),
        (b"\xff\xfe\x00binary", "not UTF-8"),
        (b"- 1\n- 2\n", "top level"),
        (b"just words", "top level"),
        (b"7\n", "top level"),
        (b"lrr: 1\n", "did you mean 'lr'"),
        (b"1: 2\n", "unknown key 1"),
        (b"text: ${oc.env:SURELY_NOT_SET}\n", "SURELY_NOT_SET"),
    ],
)
def test_a_malformed_file_is_one_line_that_says_where(tmp_path, content, words):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    assert words in fails(yaml=file)


def test_an_empty_file_changes_nothing(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("# nothing but a remark\n")
    assert load(yaml=file) == load()


def test_a_saved_config_loads_again(tmp_path):
    from utils.files import atomic_write_json

    config = load("model.n_layer=7", "text=x", "weights.a=0.5", "clip=1.0", "level=high")
    file = atomic_write_json(tmp_path / "c.json", to_dict(config))
    assert load_config(Config, file) == config


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().lr = 1  # type: ignore[misc]


def test_flat_keys_and_defaults_list_the_same_keys():
    assert list(flat_keys(Config)) == list(flat_defaults(Config))
    defaults = flat_defaults(Config)
    assert (
        defaults["vocab"] == "required"
        and defaults["model.n_layer"] == 4
        and defaults["betas"] == [0.9, 0.95]
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int | None, "int or null"),
        (Literal["a", 1], "'a' | 1"),
        (tuple[int, ...], "list of int"),
        (dict[str, int], "mapping of text to int"),
        (Any, "anything"),
        (str, "text"),
    ],
)
def test_types_are_named_for_people(kind, name):
    assert type_name(kind) == name


ALIASES = {"--lr": "lr", "--n_layer": "model.n_layer", "--compile": "compile", "--text": "text"}


def parse(*argv, positional=None, configure=None):
    return parse_args(
        ["vocab=10", *argv],
        Config,
        prog="tool",
        description="Does it.",
        aliases=ALIASES,
        positional=positional,
        configure=configure,
    )


def test_flags_set_and_bare_overrides_mean_the_same():
    for argv in (["--n_layer", "8"], ["--n-layer=8"], ["--set", "model.n_layer=8"], ["model.n_layer=8"]):
        assert parse(*argv)[0].model.n_layer == 8


def test_yes_no_flags():
    assert parse("--compile")[0].compile is True
    assert parse("--compile", "--no-compile")[0].compile is False
    config, _ = parse("--compile", "lr=1")
    assert config.compile is True and config.lr == 1.0, "the flag does not swallow the next argument"


def test_order_decides_between_flags():
    assert parse("--lr", "1", "--set", "lr=2")[0].lr == 2
    assert parse("--set", "lr=2", "--lr", "1")[0].lr == 1


def test_text_flags_take_text_as_it_stands():
    assert parse("--text", "a: {b} = 3")[0].text == "a: {b} = 3"
    assert parse("--lr", "-1")[0].lr == -1.0


def test_positionals_mix_with_overrides():
    config, rest = parse("last", "lr=1", "Once upon", positional={"run": "which run", "prompt?": "text"})
    assert (rest.run, rest.prompt, config.lr) == ("last", "Once upon", 1.0)
    _, rest = parse("last", positional={"run": "which run", "prompt?": "text"})
    assert rest.prompt is None
    _, rest = parse("last", "--", "x=3 is --odd", positional={"run": "which run", "prompt?": "text"})
    assert rest.prompt == "x=3 is --odd"


def test_namespace_holds_the_rest(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("lr: 5\n")
    config, rest = parse(
        "--config",
        str(file),
        "--debug",
        "--list",
        configure=lambda p: p.add_argument("--list", action="store_true"),
    )
    assert config.lr == 5.0 and rest.config == file and rest.debug and rest.list


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["stray"], "unexpected argument 'stray'"),
        (["--n_layr", "3"], "did you mean '--n_layer'"),
        (["--name", "x"], "write name=VALUE"),
        (["--lr"], "--lr: expected one argument"),
        (["--lr", "fast"], "lr is 'fast' but must be float"),
        (["--config", "no.yaml"], "not found"),
        (["--set", "lr"], "write key=value"),
    ],
)
def test_a_wrong_command_line_is_one_line(argv, words):
    with pytest.raises(UserError) as caught:
        parse(*argv)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_positional_is_named():
    with pytest.raises(UserError, match="run is missing: which run"):
        parse(positional={"run": "which run"})


def test_an_alias_to_nowhere_is_a_bug_of_the_command():
    with pytest.raises(KeyError, match="--x"):
        parse_args([], Config, prog="t", description="d", aliases={"--x": "nowhere"})


def test_help_lists_every_key_with_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help", positional={"run": "which run"})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for line in ("model.n_layer=4", "lr=0.0003", "compile=false", "text=null", "vocab=required"):
        assert line in text
    assert "peak learning rate, 100% of it" in text and "which run" in text and "--n-layer" in text


def test_help_imports_neither_torch_nor_omegaconf():
    code = (
        "import sys\nfrom dataclasses import dataclass\nfrom utils.config import parse_args\n"
        "@dataclass(frozen=True)\nclass C:\n    lr: float = 0.1\n"
        "try: parse_args(['--help'], C, prog='t', description='d')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'omegaconf', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_words_of_a_command_are_what_differs_and_can_be_typed_again():
    @dataclass(frozen=True)
    class Race:
        inputs: tuple[str, ...] = ("a",)
        rounds: int = 5
        out: str = "x.json"

    changed = Race(inputs=("b c", "d"), rounds=3, out="y.json")
    assert command_words(Race()) == []
    assert command_words(changed) == ["inputs=[bc,d]", "rounds=3"]
    assert command_words(changed, ("rounds", "inputs")) == ["out=y.json"]
    plain = Race(inputs=("b", "d"), rounds=3)
    assert load_config(Race, overrides=command_words(plain)) == plain
