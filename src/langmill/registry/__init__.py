"""Which model is in service: packages, versions, validation, the gate, promotion, rollback, and the lineage of each."""
