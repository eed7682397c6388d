# The operator's image, for whoever has a registry to push it to. `cargo xtask images` makes the same without Docker.
#
#   cargo build --release --locked --package strobe-operator && docker build -f deploy/operator.Dockerfile -t strobe/operator .
#
# The program is built outside: the C library of the machine that builds it must not be newer than this Debian's.
FROM debian:bookworm-slim

COPY target/release/strobe-operator /usr/local/bin/

# It needs no right on its node and writes no file: its root may be read-only. Numbers, since kubelet cannot know that a name is not root's.
USER 65532:65532

ENTRYPOINT ["/usr/local/bin/strobe-operator"]
