# The examples with PyPI's MPICH, for whoever has a registry to push them to. `cargo xtask images` makes the same without Docker.
# Debian 12's own MPICH often does not end where the ranks are in several pods (docs/spikes/f-mpi-between-pods.md).
#
#   docker build -f deploy/examples.Dockerfile -t strobe/examples .
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev make python3-venv
RUN python3 -m venv /mpich && /mpich/bin/pip install mpich==5.0.2
COPY examples /examples
RUN make -C /examples OUT=/programs MPICC="cc -I/mpich/include -L/mpich/lib -Wl,-rpath,/opt/mpich -Wl,--no-as-needed -lmpi"
RUN mkdir /opt/mpich && cp -r /mpich/lib/libmpi.so.12 /mpich/lib/mpich /opt/mpich/ && ln -s libmpi.so.12 /opt/mpich/libmpich.so.12

FROM debian:bookworm-slim
# No mpiexec and no ssh: the supervisor starts the ranks.
COPY --from=build /opt/mpich/ /opt/mpich/
COPY --from=build /programs/ /usr/local/bin/
# The manifests name the programs as local mode finds them, relative to where it was started.
RUN mkdir /target && ln -s ../usr/local/bin /target/examples
