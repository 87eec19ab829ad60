"""Break a running server in every way, and check the history of what its clients were told against what is stored."""
