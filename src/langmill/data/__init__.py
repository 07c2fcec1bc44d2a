"""Raw data to clean documents: sources, readers, cleaning, splits and the data report."""
