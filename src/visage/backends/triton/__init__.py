"""Triton Inference Server: networks are computed elsewhere, asked over KServe v2 (gRPC).

session.py      a network on those servers, as the rest of the house sees it
server.py       one server: asked with a deadline, left alone while it is away, looked at before it is trusted again
regions.py      system shared memory, where the server is on the same machine
signature.py    what goes in and comes out, of a file and of a server, and where they differ
repository.py   the model repository that a server serves them from
"""
