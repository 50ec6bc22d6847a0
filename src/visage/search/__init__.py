"""Who is this? Galleries of enrolled faces, and the search in them."""
