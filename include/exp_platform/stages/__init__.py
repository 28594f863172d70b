"""What each stage of a run does, and the one list of them."""
