"""Time series: windows of them, scores as in M4, baselines, and forecasts."""
