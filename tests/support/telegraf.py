"""A telegraf.conf of our own that does what that of the old stack does, in other words."""

from __future__ import annotations

SUMS = (
    '["web_requests", "system_tcp_sent", "system_tcp_received", "system_network_sent",'
    ' "system_network_received", "decentralized_web_requests"]'
)
GEO = '["manifest_geo_latitude", "manifest_geo_longitude", "manifest_geo_metadata"]'
LIKE_THE_OLD_STACK = f"""
[agent]
  interval = "${{INTERVAL:-10s}}"

[[inputs.http_listener_v2]]
  service_address = ":9273"
  data_format = "prometheusremotewrite"

[[processors.filter]]
  namepass = ["prometheus_remote_write"]

# They are run in this order, not in that of the file.
[[processors.starlark]]
  order = 3
  tagpass = {{ "filter_name" = {SUMS} }}
  source = 'def apply(m): m.fields["schema"] = "cumsum"; return m'

[[processors.starlark]]
  order = 2
  source = '''
def apply(metric):
    tier = metric.tags.get("manifest_tier")
    if tier in ["mainnet", "testnet"]:
        metric.fields["schema"] = tier
    return metric
'''

[[processors.starlark]]
  order = 1
  source = '''
load("logging.star", "log")

def apply(metric):
    given = metric.fields.keys()[0]
    log.debug("given a name: " + given)
    fields = {{"name": given.lower(), "schema": "common", "value": metric.fields.pop(given)}}
    metric.fields.update(fields)
    metric.tags["filter_name"] = fields["name"]
    return metric
'''

[[processors.starlark]]
  order = 4
  source = 'def apply(m): m.fields["schema"] = "geo"; return m'
  [processors.starlark.tagpass]
    filter_name = {GEO}

[[outputs.postgresql]]
  connection = "$SECRET"
  schema = "staging_cumsum"
  tagpass = {{ filter_name = {SUMS} }}

[[outputs.postgresql]]
  connection = "$SECRET"
  schema = "staging_internal"
  tagdrop = {{ filter_name = {SUMS} }}
"""
