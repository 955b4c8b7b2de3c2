"""What a net learns: heat maps, part affinity fields, and the losses against them."""
