"""Finding anomalies in time series, point by point."""
