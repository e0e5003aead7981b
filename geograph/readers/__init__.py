"""Files to records: one format in each module."""
