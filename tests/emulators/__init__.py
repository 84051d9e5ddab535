"""What the service is joined to in tests: a nucleus, its Shadow Manager, and the cloud behind them."""
