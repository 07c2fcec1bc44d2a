"""What runs when, after what and how often, in Prefect; no machine learning in here."""
