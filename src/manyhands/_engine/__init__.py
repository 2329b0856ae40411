"""Effects on this machine: processes, sockets, shared pages, and the loop that carries out decisions."""
