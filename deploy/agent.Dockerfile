# The agent's image, for whoever has a registry to push it to. `cargo xtask images` makes the same without Docker.
#
#   cargo xtask build --release && docker build -f deploy/agent.Dockerfile -t strobe/agent .
#
# The programs are built outside: the C library of the machine that builds them must not be newer than this Debian's.
FROM debian:bookworm-slim

# Beside each other, where the agent looks for the supervisor; and the supervisor that is static, since it starts in the pods' images.
COPY target/release/strobe-agent target/static/release/strobe-init /usr/local/bin/

ENTRYPOINT ["/usr/local/bin/strobe-agent"]
