"""Champions over HTTP: the engine that runs them, the follower that keeps them current, the interface."""
