"""Both integrations in stand-ins of their hosts, against a stand-in of the server, and against the real one
where PROMPTIST_BIN names a `promptist` that can serve:

    python -m unittest discover -s integrations
    PROMPTIST_BIN=target/release/promptist python -m unittest discover -s integrations
"""
