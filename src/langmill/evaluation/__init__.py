"""How good a model is: scores, intervals, slices, pictures and the report."""
