// SPDX-License-Identifier: Apache-2.0
//
// The check of the checks: linked into an example, it makes its communication go wrong through
// MPI's profiling interface (MPI standard, chapter "Tool Support"), so that the example must end
// with WRONG. Only `make check` builds it.

#include <mpi.h>
#include <stddef.h>

// Of a gathered result, one byte on the root is turned.
int MPI_Gatherv(const void *sent, int sent_count, MPI_Datatype sent_type, void *received,
                const int counts[], const int places[], MPI_Datatype type, int root,
                MPI_Comm group) {
    int outcome = PMPI_Gatherv(sent, sent_count, sent_type, received, counts, places, type, root,
                               group);
    int rank;
    PMPI_Comm_rank(group, &rank);
    if (rank == root) {
        *(unsigned char *)received ^= 1;
    }
    return outcome;
}

// Of a reduction over whole numbers, the result is one too large.
int MPI_Allreduce(const void *sent, void *received, int count, MPI_Datatype type, MPI_Op operation,
                  MPI_Comm group) {
    int outcome = PMPI_Allreduce(sent, received, count, type, operation, group);
    if (type == MPI_INT64_T) {
        *(long *)received += 1;
    }
    return outcome;
}

// Of a received message of ints, the first (in tsp a tour's length) is halved.
int MPI_Recv(void *buffer, int count, MPI_Datatype type, int source, int tag, MPI_Comm group,
             MPI_Status *status) {
    int outcome = PMPI_Recv(buffer, count, type, source, tag, group, status);
    if (type == MPI_INT) {
        *(int *)buffer /= 2;
    }
    return outcome;
}
