"""Lists of tables: limits, routes, budgets, prices, and where credentials are."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from perdure.config import PROVIDERS, Config, KeyConfig, LimitConfig, dollars, load, money
from perdure.core.budget import Budget
from perdure.core.charge import NANO
from perdure.errors import ConfigError
from perdure.gateway import providers

WHOLE = """
[gateway]
shared = "redis://:hunter2@cache:6379/0"
patience = "5s"

[keys.second]
env = "OPENAI_KEY_2"
[keys.third]
file = "/run/secrets/openai"

[[limits]]
provider = "openai"
model = "gpt-5*"
rpm = 5_000
tpm = 2_000_000
burst = "6s"
per_key = true

[[limits]]
provider = "anthropic"
model = ["claude-sonnet-4*", "claude-opus-4"]
pool = "claude 4"
itpm = 80000
otpm = 16000
output = "max_tokens"
concurrent = 4

[[routes]]
name = "chat"
model = "gpt-5"
tenant = ["acme", "beta-*"]
max_prompt = 100_000
break_after = 3
open_for = "1m"
sticky = "session"
targets = [
  { name = "here", weight = 9 },
  { name = "eu", provider = "openai", base_url = "https://eu.api.openai.com/v1", key = "second", weight = 1 },
  { name = "small", model = "gpt-5-mini" },
]

[[budgets]]
name = "day"
usd = "25.50"
every = "day"
soft = [0.5, "90%", "25"]

[[budgets]]
name = "run"
usd = 0.1
per = "run"
agent = "research"

[[prices]]
model = "my-*"
input = 0.15
output = "0.60"

[agents.research]
preflight = "strict"
expected_tokens = 20_000
expected_cost = "0.05"
cache = "exact"
cache_ttl = "10m"
cache_scope = "tenant"
prompt_cache = true
"""  # noqa: E501


def read(folder: Path, text: str) -> Config:
    path = folder / "perdure.toml"
    path.write_text(text)
    return load(path, environ={})


def test_everything_at_once(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    first, second = config.limits
    assert (first.model, first.rpm, first.tpm, first.burst) == (("gpt-5*",), 5000, 2_000_000, 0.1)
    assert first.per_key
    assert second.model == ("claude-sonnet-4*", "claude-opus-4")
    assert second.amounts == {"itpm": 80_000, "otpm": 16_000, "concurrent": 4}
    (route,) = config.routes
    assert [(t.name, t.weight, t.key) for t in route.targets] == [
        ("here", 9, ""), ("eu", 1, "second"), ("small", 0, ""),
    ]  # fmt: skip
    assert (route.tenant, route.open_for) == (("acme", "beta-*"), timedelta(minutes=1))
    day, run = config.budgets
    assert (day.usd, day.every, day.hard) == (25_500_000_000, "day", True)
    assert day.soft == (12_750_000_000, 22_950_000_000, 25_000_000_000)
    assert (run.usd, run.per, run.agent) == (NANO // 10, "run", ("research",))
    (price,) = config.prices
    assert (price.provider, price.input, price.output) == ("*", 150_000_000, 600_000_000)
    assert (price.cache_read, price.reasoning) == (None, None)
    agent = config.agents["research"]
    assert (agent.preflight, agent.expected_tokens, agent.expected_cost) == (
        "strict", 20_000, 50_000_000,
    )  # fmt: skip
    assert (agent.cache, agent.cache_ttl, agent.cache_scope, agent.prompt_cache) == (
        "exact", timedelta(minutes=10), "tenant", True,
    )  # fmt: skip
    assert config.keys["second"] == KeyConfig("second", env="OPENAI_KEY_2")
    assert config.gateway.patience == timedelta(seconds=5)


def test_what_is_shown_has_its_source_and_no_secret(tmp_path: Path) -> None:
    rows = read(tmp_path, WHOLE).show()
    shown = {name: value for name, value, _ in rows}
    at = str(tmp_path / "perdure.toml")
    assert "hunter2" not in repr(rows)
    assert shown["gateway.shared"] == "redis://:***@cache:6379/0"
    assert shown["limits.1.rpm"] == 5000
    assert shown["routes.1.targets.2.base_url"] == "https://eu.api.openai.com/v1"
    assert shown["budgets.1.usd"] == "$25.50"
    assert shown["budgets.1.soft"] == ["$12.75", "$22.95", "$25"]
    assert shown["budgets.2.usd"] == "$0.10"
    assert shown["prices.1.output"] == "$0.60"
    assert shown["agents.research.expected_cost"] == "$0.05"
    assert shown["keys.second.env"] == "OPENAI_KEY_2"
    assert shown["keys.third.file"] == "/run/secrets/openai"
    assert "limits.1.window" not in shown
    lists = ("limits.", "routes.", "budgets.", "prices.", "keys.", "agents.")
    assert {source for name, _, source in rows if name.startswith(lists)} == {at}


LIMIT = '[[limits]]\nprovider = "openai"\n'
AIM = "targets = [{ name = 'a'"
ROUTE = '[[routes]]\nname = "r"\n'
BUDGET = '[[budgets]]\nname = "b"\nusd = 5\n'


@pytest.mark.parametrize(
    ("toml", "why", "hint"),
    [
        ("[limits]\nrpm = 1", r"limits must be a list of tables: \[\[limits\]\]", ""),
        ("[[limits]]\nrpm = 1", r"limits\.1 \(the first \[\[limits\]\] of .*\) lacks provider", ""),
        (LIMIT, "limits nothing", "Say rpm"),
        (LIMIT + "rpn = 1", r"no setting limits\.1\.rpn", "Known: .*rpm"),
        (LIMIT + "rpm = 'x'", r"limits\.1\.rpm = 'x' \(from .*\) is not a whole number", ""),
        (LIMIT + "rpm = 0", "let no call through", "leave it out"),
        (LIMIT + "rpm = 1.5", "whole number", ""),
        (LIMIT.replace("nai", "nia") + "rpm = 1", "no known provider", "Did you mean 'openai'"),
        (LIMIT + "rpm = 1\nkey = 'sk-live-1'", r"limits\.1\.key .*label of no", "Labels: none"),
        (LIMIT + "rpm = 60\nburst = 2", "is not a share", ""),
        (LIMIT + "rpm = 60\nburst = '90s'", "at most a minute", ""),
        (LIMIT + "rpm = 600\nwindow = '1s'\nburst = '6s'", "more than a window of 1s takes", ""),
        (LIMIT + "rpm = 30\nwindow = '1s'", "less than one in 1s", "longer window"),
        (LIMIT + "rpm = 30\nwindow = '2m'", "between 1s and 60s", ""),
        (LIMIT + "rpm = 30\noutput = 'later'", "is none of: .*produced, max_tokens", ""),
        (2 * (LIMIT + "rpm = 1\n"), r"limits\.1 and limits\.2 .* of the same", "one table"),
        (2 * (LIMIT + "rpm = 1\npool = 'p'\n"), "of the same", "Several models share"),
        ("[[routes]]\ntargets = [{ name = 'a' }]", "lacks name", ""),
        (ROUTE, "lacks targets", ""),
        (ROUTE + "targets = []", "has no targets", ""),
        (ROUTE + "targets = 'a'", "not a list of tables", "targets = "),
        (ROUTE + "targets = [{ model = 'a' }]", r"routes\.1\.targets\.1 .*lacks name", ""),
        (ROUTE + AIM + ", url = '' }]", r"no setting routes\.1\.targets\.1\.url", ""),
        (ROUTE + AIM + " }, { name = 'a' }]", "both named 'a'", ""),
        (ROUTE + AIM + ", base_url = 'eu' }]", "no base URL", "https"),
        (ROUTE + AIM + ", base_url = 'https://u:p@h' }]", "holds a credential", "key"),
        (ROUTE + AIM + ", key = 'k' }]", "label of no", ""),
        (ROUTE + AIM + ", provider = 'x' }]", "no known provider", "Known: .*openai"),
        (ROUTE + AIM + " }]\nsticky = 'run'", "sticky without weights", ""),
        (ROUTE + AIM + " }]\nbreak_after = 0", "too little", ""),
        (ROUTE + AIM + " }]\nstream = 'x'", "none of: again, fail", ""),
        (ROUTE + AIM + " }]\nmin_prompt = 2\nmax_prompt = 1", "fits no prompt", ""),
        (2 * (ROUTE + AIM + " }]\n"), "both named 'r'", ""),
        (ROUTE + AIM + " }]\n" + ROUTE.replace('"r"', '"s"')
         + AIM + ", model = 'm' }]", "both named 'a' and differ", "breaker"),
        ("[[budgets]]\nname = 'b'", "lacks usd", ""),
        (BUDGET.replace("5", "'much'"), "is not an amount: say US dollars", ""),
        (BUDGET.replace("5", "-1"), "cannot be negative", ""),
        (BUDGET.replace("5", "'0.0000000001'"), "billionths", ""),
        (BUDGET + "per = 'user'", "none of: all, run", ""),
        (BUDGET + "every = 'week'", "none of: .*hour, day, month", ""),
        (BUDGET + "per = 'run'\nevery = 'day'", "per run and has a period", ""),
        (BUDGET + "soft = 1.5", r"budgets\.1\.soft = 1\.5", "Say parts"),
        (BUDGET + "soft = '6'", "never be told", ""),
        (BUDGET + "soft = 0", r"budgets\.1\.soft = 0", ""),
        (BUDGET + "hard = false", "nothing would follow", "soft = 1.0"),
        (2 * BUDGET, "both named 'b'", ""),
        ("[[prices]]\ninput = 1", "lacks output", ""),
        ("[[prices]]\ninput = 1\noutput = 1\nprovider = 'x'", "no known provider", ""),
        ("[agents.a]\npreflight = 'maybe'", r"agents\.a\.preflight .*none of: off, wait", ""),
        ("[agents.a]\nexpected_cost = 'x'", "is not an amount", ""),
        ("[limitz]\na = 1", r"no setting \[limitz\]", "limits"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(
    tmp_path: Path, toml: str, why: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        read(tmp_path, toml)
    assert "perdure.toml" in str(caught.value)
    if hint:
        with pytest.raises(ConfigError, match=hint):
            raise ConfigError(str(caught.value.hint))


SECRET = "sk-proj-abc123DEF456"


@pytest.mark.parametrize(
    "toml",
    [
        f'[keys]\nopenai = "{SECRET}"',
        f'[keys.openai]\nvalue = "{SECRET}"',
        f'[keys.openai]\nenv = "{SECRET}"',
        f'[keys.openai]\nfile = "{SECRET}"',
        f'[keys.openai]\nenv = "A"\nfile = "{SECRET}/x"',
        f'{LIMIT}rpm = 1\nkey = "{SECRET}"',
        f'{ROUTE}targets = [{{ name = "a", key = "{SECRET}" }}]',
        f'{ROUTE}targets = [{{ name = "a", base_url = "https://u:{SECRET}@h/" }}]',
        f'keys = "{SECRET}"',
        "[keys.openai]",
        "[keys.openai]\nenv = 5",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, toml)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.hint)


def test_credentials_are_read_when_they_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    key = KeyConfig("k", file=str(file))
    assert key.read() == SECRET
    file.write_text("renewed")
    assert key.read() == "renewed"
    assert KeyConfig("k", env="K").read({"K": SECRET}) == SECRET


@pytest.mark.parametrize("content", ["", "two words", "line\nline", None])
def test_credentials_that_are_none(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="'k'") as caught:
        KeyConfig("k", file=str(file)).read()
    assert str(file) in str(caught.value)
    with pytest.raises(ConfigError, match="variable K"):
        KeyConfig("k", env="K").read({} if content is None else {"K": content})


@pytest.mark.parametrize(
    ("said", "nano"),
    [(25, 25 * NANO), ("0.25", NANO // 4), (0.1, NANO // 10), ("$1_000", 1000 * NANO),
     ("5 USD", 5 * NANO), (1e-9, 1), (0, 0), (0.3, 300_000_000),
     ("123456789.123456789", 123456789123456789)],
)  # fmt: skip
def test_money_is_exact(said: object, nano: int) -> None:
    assert money(said) == nano
    assert money(dollars(nano)) == nano


@pytest.mark.parametrize("said", [True, None, "x", "nan", "inf", "-1", -1, 1e-10, [], float("nan")])
def test_what_is_no_money(said: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        money(said)


def test_the_names_of_providers_are_those_of_the_gateway() -> None:
    assert tuple(provider.name for provider in providers.PROVIDERS) == PROVIDERS


def test_values_can_be_made_in_code() -> None:
    assert LimitConfig(provider="openai", rpm=5).amounts == {"rpm": 5}
    assert Config() == Config(budgets=())
    assert Budget.__dataclass_fields__["hard"].default is True
