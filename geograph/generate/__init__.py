"""Physics to records, offline."""
