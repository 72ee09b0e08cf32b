"""Forecasting many time series."""
