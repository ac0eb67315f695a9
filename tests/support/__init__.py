"""What tests share: tiny trials and sweeps, servers, synthetic results and independent implementations."""
