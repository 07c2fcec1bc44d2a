"""What Langmill is measured against."""
