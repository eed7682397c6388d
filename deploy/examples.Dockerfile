# The examples with MPICH, for whoever has a registry to push them to. `cargo xtask images` makes the same without Docker.
#
#   docker build -f deploy/examples.Dockerfile -t strobe/examples .
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev make libmpich-dev mpich
COPY examples /examples
RUN make -C /examples OUT=/programs

FROM debian:bookworm-slim
# No mpiexec and no ssh: the supervisor starts the ranks.
RUN apt-get update && apt-get install --yes --no-install-recommends libmpich12 && rm -rf /var/lib/apt/lists/*
COPY --from=build /programs/ /usr/local/bin/
# The manifests name the programs as local mode finds them, relative to where it was started.
RUN mkdir /target && ln -s ../usr/local/bin /target/examples
