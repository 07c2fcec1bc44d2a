"""What the step `privacy` and `langmill scan` look for: kinds of personal data and secrets, one detector a kind."""
