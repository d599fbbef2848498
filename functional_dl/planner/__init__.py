"""What to keep of a forward pass for its backward: algorithms on plain numbers, and the policy that uses them."""
