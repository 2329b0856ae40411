"""A job run as a loop, in threads and in processes, in turns: which is quicker, by how much, and how sure that is."""
