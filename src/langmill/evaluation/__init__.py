"""How good a model is: scores, intervals, slices, plots and the report."""
