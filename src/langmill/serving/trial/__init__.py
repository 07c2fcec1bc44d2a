"""A challenger on live traffic: requests that two versions answer, compared pair by pair."""
