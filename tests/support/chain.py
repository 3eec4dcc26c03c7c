"""A fixture of two tiers, as a team's exporters would push it, and the rules that record it.

Nothing that is pushed has a name that Promgres knows; what the rules record has. Every quantity of
the second scrape is larger than in the first, so that the largest of both is the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext

TIERS = ("mainnet", "testnet")
EACH_EVALUATION = 60
"""What the cumulative metric gains each time its rule is evaluated."""


@dataclass(frozen=True)
class Tokenomics:
    """What one scrape says of a tier, as exact text."""

    total: str
    excluded: str
    locked: str
    fees: str
    burned: str
    conversion: str

    @property
    def circulating(self) -> str:
        """Total less excluded, locked and fees."""
        gone = [self.excluded, self.locked, self.fees]
        return str(int(self.total) - sum(int(amount) for amount in gone))

    @property
    def fdv(self) -> str:
        """Fully diluted value."""
        return product(self.total, self.conversion)

    @property
    def market_cap(self) -> str:
        """Market capitalisation."""
        return product(self.circulating, self.conversion)


FIRST = {
    "mainnet": Tokenomics(
        total="987654321098765432101",
        excluded="987000000000000000003",
        locked="15000001",
        fees="7000003",
        burned="135304300855652060000",
        conversion="0.613",
    ),
    "testnet": Tokenomics(
        total="123456789012345678901",
        excluded="23456789012345678902",
        locked="3",
        fees="5",
        burned="0.379",
        conversion="0.613",
    ),
}
SECOND = {
    "mainnet": Tokenomics(
        total="987654321098765432201",
        excluded="987000000000000000013",
        locked="15000002",
        fees="7000004",
        burned="135304300855652070000",
        conversion="0.617",
    ),
    "testnet": Tokenomics(
        total="123456789012345679001",
        excluded="23456789012345678912",
        locked="4",
        fees="6",
        burned="0.38",
        conversion="0.617",
    ),
}
COORDINATES = [
    {"latitude": "45.5019", "longitude": "-73.5674", "country_name": "Canada", "city": "Montréal"},
    {"latitude": "-22.9", "longitude": "-43.2", "country_name": "Brazil", "city": "Rio \\ 'x'"},
]


def product(left: str, right: str) -> str:
    """The exact decimal of a product, as PostgreSQL writes it."""
    with localcontext(prec=100):
        return format(Decimal(left) * Decimal(right), "f")


def exposition(scrape: dict[str, Tokenomics]) -> str:
    """The fixture in the exposition format."""
    return "\n".join([*_tiers(scrape), *_geo(), f"chain_requests {EACH_EVALUATION}", ""])


def _tiers(scrape: dict[str, Tokenomics]) -> Iterator[str]:
    for tier, at in scrape.items():
        yield f'chain_total_supply{{tier="{tier}",supply="{at.total}"}} 1'
        yield f'chain_excluded_supply{{tier="{tier}",excluded_supply="{at.excluded}"}} 1'
        yield f'chain_locked_tokens{{tier="{tier}",amount="{at.locked}"}} 1'
        yield f'chain_locked_fees{{tier="{tier}",amount="{at.fees}"}} 1'
        yield f'chain_burned{{tier="{tier}"}} {at.burned}'
        yield f'chain_conversion{{tier="{tier}"}} {at.conversion}'


def _geo() -> Iterator[str]:
    for number, place in enumerate(COORDINATES, start=1):
        node = f'instance="node-{number}"'
        city = place["city"].replace("\\", "\\\\")
        yield f"chain_latitude{{{node}}} {place['latitude']}"
        yield f"chain_longitude{{{node}}} {place['longitude']}"
        yield f'chain_place{{{node},country_name="{place["country_name"]}",city="{city}"}} 1'


RECORDED = {
    "manifest_tokenomics_total_supply": "chain_total_supply",
    "manifest_tokenomics_excluded_supply": "chain_excluded_supply",
    "locked_tokens": "chain_locked_tokens",
    "locked_fees": "chain_locked_fees",
    "total_mfx_burned": "chain_burned",
}
"""Recorded in each tier: name, and what it is recorded from."""

RULES: dict[str, list[Mapping[str, object]]] = {
    "tokenomics": [
        *(
            {
                "record": record,
                "expr": f'{raw}{{tier="{tier}"}}',
                "labels": {"manifest_tier": tier},
            }
            for tier in TIERS
            for record, raw in RECORDED.items()
        ),
        {"record": "talib_mfx_power_conversion", "expr": "max(chain_conversion)"},
    ],
    "geo": [
        {"record": "manifest_geo_latitude", "expr": "chain_latitude"},
        {"record": "manifest_geo_longitude", "expr": "chain_longitude"},
        {"record": "manifest_geo_metadata", "expr": "chain_place"},
    ],
    "traffic": [{"record": "web_requests", "expr": "sum(chain_requests)"}],
    "prometheus": [
        {"record": f"prometheus:{name}:sum", "expr": f"sum({name})"}
        for name in (
            "go_goroutines",
            "go_memstats_alloc_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
            "prometheus_engine_queries",
            "prometheus_http_requests_total",
            "prometheus_tsdb_head_series",
            "scrape_samples_scraped",
        )
    ],
}
"""23 recording rules."""
