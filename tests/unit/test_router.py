"""Where series go."""

from typing import Any

import pytest

from ingest.config import Settings
from ingest.routing.router import Router, is_decimal, lower_name


def router(**settings: Any) -> Router:
    return Router(Settings(_env_file=None, **settings))


def decide(router: Router, name: str, **labels: str) -> tuple[str, str, str]:
    decision = router.decide(lower_name(name), {"__name__": name, **labels})
    return decision.rule, decision.target, decision.schema


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("up", {}, ("no rule", "internal", "common")),
        ("web_requests", {}, ("built-in cumsum", "cumsum", "cumsum")),
        ("Web_Requests", {}, ("built-in cumsum", "cumsum", "cumsum")),
        ("web_requests_total", {}, ("no rule", "internal", "common")),
        ("system_tcp_sent", {"manifest_tier": "mainnet"}, ("built-in cumsum", "cumsum", "cumsum")),
        ("manifest_geo_metadata", {}, ("built-in geo", "geo", "geo")),
        ("up", {"manifest_tier": "mainnet"}, ("built-in mainnet", "internal", "mainnet")),
        ("up", {"manifest_tier": "testnet"}, ("built-in testnet", "internal", "testnet")),
        ("up", {"manifest_tier": "Mainnet"}, ("no rule", "internal", "common")),
    ],
)
def test_built_in_rules(name: str, labels: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert decide(router(), name, **labels) == expected


def test_own_rules_come_first_and_the_first_match_wins() -> None:
    rules = [
        {"match": {"name": "web_requests", "labels": {"env": "dev"}}, "schema": "dev"},
        {"match": {"name_regex": "web_.*"}, "target": "cumsum", "schema": "web"},
    ]
    own = router(route=rules)
    assert decide(own, "web_requests", env="dev") == ("route[0]", "internal", "dev")
    assert decide(own, "web_requests") == ("route[1]", "cumsum", "web")
    assert decide(own, "system_tcp_sent") == ("built-in cumsum", "cumsum", "cumsum")


def test_built_in_rules_can_be_left_out() -> None:
    assert decide(router(builtin_routes=False), "web_requests")[0] == "no rule"
    assert decide(router(packs=[]), "web_requests")[0] == "no rule"


def test_regular_expressions_match_whole_texts() -> None:
    rules = [{"match": {"name_regex": "go|node", "labels_regex": {"a": "x+"}}, "schema": "s"}]
    own = router(route=rules)
    assert decide(own, "go", a="xx")[0] == "route[0]"
    assert decide(own, "GO", a="xx")[0] == "route[0]"
    assert decide(own, "go_gc", a="xx")[0] == "no rule"
    assert decide(own, "go", a="xxy")[0] == "no rule"
    assert decide(own, "go")[0] == "no rule"


def test_a_missing_label_is_an_empty_one() -> None:
    rules = [
        {"match": {"labels": {"env": ""}}, "schema": "bare"},
        {"match": {"labels_regex": {"team": ".*"}}, "schema": "any"},
    ]
    assert decide(router(route=rules), "up")[2] == "bare"
    assert decide(router(route=rules), "up", env="x")[2] == "any"


def test_a_rule_without_a_match_takes_everything() -> None:
    assert decide(router(route=[{"schema": "all"}]), "up")[2] == "all"


def test_a_rule_may_drop() -> None:
    own = router(route=[{"match": {"name": ["UP"]}, "drop": True}])
    assert own.decide("up", {"__name__": "up"}).drop
    assert not own.decide("down", {"__name__": "down"}).drop


def test_value_labels() -> None:
    assert router().value_label("manifest_tokenomics_total_supply") == "supply"
    assert router().value_label("manifest_tokenomics_excluded_supply") == "excluded_supply"
    assert router().value_label("locked_tokens") == "amount"
    assert router().value_label("locked_fees") == "amount"
    assert router().value_label("up") is None
    own = {"name": "Locked_Tokens", "label": "exact"}
    assert router(value_label=[own]).value_label("locked_tokens") == "exact"
    assert router(builtin_value_labels=False).value_label("locked_tokens") is None
    assert router(packs=[]).value_label("locked_tokens") is None
    assert router(packs=["manifest"]).value_label("locked_tokens") == "amount"


def test_only_ascii_letters_are_lowered() -> None:
    assert lower_name("HTTP_Ünïts_ÀÉ_İ") == "http_Ünïts_ÀÉ_İ"


@pytest.mark.parametrize(
    "text", ["0", "007", "+1", "-15", "987654321098765432101", "0.5", "9" * 100 + "." + "9" * 100]
)
def test_decimals(text: str) -> None:
    assert is_decimal(text)


@pytest.mark.parametrize(
    "text",
    ["", ".5", "5.", "1e3", "NaN", "inf", " 1", "1 ", "1\n", "1_000", "1,5", "٣", "+-1", "0x1",
     "9" * 101, "1." + "9" * 101, "1.2.3"],
)  # fmt: skip
def test_what_is_no_decimal(text: str) -> None:
    assert not is_decimal(text)
