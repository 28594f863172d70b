"""Iceberg tables: schemas, catalog, the replace-by-key write, leases, maintenance."""
