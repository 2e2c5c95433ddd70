"""What the two training stages share."""
