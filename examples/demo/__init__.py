"""The story of `intentledger demo`. It speaks to the service as any client would, over HTTP."""
