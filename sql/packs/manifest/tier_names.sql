-- The tiers of the network: the schemas that routes.toml gives to what has a label manifest_tier.

CREATE OR REPLACE VIEW internal.manifest_tier (tier) AS
VALUES ('mainnet'), ('testnet');
COMMENT ON VIEW internal.manifest_tier IS 'Schemas of the pack manifest, as rows: what tiers.sql is made for';
