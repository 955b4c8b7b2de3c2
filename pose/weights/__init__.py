"""Published weights: where they lie, how they are fetched, and how they load into our models."""
