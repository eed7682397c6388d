//! What a queue pair is told: the attributes of its states, and work requests.

use std::{io, mem, ptr};

use rdma_sys::{
    ibv_access_flags, ibv_create_qp, ibv_global_route, ibv_modify_qp, ibv_post_recv, ibv_post_send, ibv_qp, ibv_qp_attr, ibv_qp_attr_mask,
    ibv_qp_init_attr, ibv_qp_state, ibv_qp_type, ibv_recv_wr, ibv_send_flags, ibv_send_wr, ibv_sge, ibv_wr_opcode, rdma_t, wr_t,
};

use super::{
    completion::CompletionQueue,
    device::{Device, check},
    domain::Domain,
    endpoint::Endpoint,
    error::VerbsError,
    in_flight::{Kind, WorkId},
    memory::Buffer,
};
use crate::limits::{
    VERBS_ACKNOWLEDGE_EXPONENT, VERBS_HOPS_MAX, VERBS_NOT_READY_CODE, VERBS_NOT_READY_RETRIES, VERBS_RECEIVES_MAX, VERBS_RETRIES,
    VERBS_SENDS_MAX,
};

/// A place in a window of the peer; 0 and 0 for what has none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Target {
    pub(super) address: u64,
    pub(super) key: u32,
}

/// A new reliable connection, in state RESET.
pub(super) fn create(domain: &Domain, completions: &CompletionQueue) -> Result<ptr::NonNull<ibv_qp>, VerbsError> {
    // SAFETY: a struct of numbers and pointers, for all of which zero is valid.
    let mut attributes: ibv_qp_init_attr = unsafe { mem::zeroed() };
    attributes.send_cq = completions.as_ptr();
    attributes.recv_cq = completions.as_ptr();
    attributes.qp_type = ibv_qp_type::IBV_QPT_RC;
    attributes.cap.max_send_wr = u32::try_from(VERBS_SENDS_MAX).expect("the limits are small");
    attributes.cap.max_recv_wr = u32::try_from(VERBS_RECEIVES_MAX).expect("the limits are small");
    attributes.cap.max_send_sge = 1;
    attributes.cap.max_recv_sge = 1;
    // SAFETY: domain and queue are there, and outlive the pair, whose owner keeps both; the attributes are ours.
    let pair = unsafe { ibv_create_qp(domain.as_ptr(), &raw mut attributes) };
    ptr::NonNull::new(pair).ok_or_else(|| VerbsError::QueuePair(io::Error::last_os_error()))
}

/// RESET to INIT: from here on it takes buffers for messages.
pub(super) fn initialise(pair: ptr::NonNull<ibv_qp>, device: &Device) -> Result<(), VerbsError> {
    let mut attributes = attributes_of(ibv_qp_state::IBV_QPS_INIT);
    attributes.pkey_index = 0;
    attributes.port_num = device.port();
    attributes.qp_access_flags = ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0;
    let mask = [
        ibv_qp_attr_mask::IBV_QP_STATE,
        ibv_qp_attr_mask::IBV_QP_PKEY_INDEX,
        ibv_qp_attr_mask::IBV_QP_PORT,
        ibv_qp_attr_mask::IBV_QP_ACCESS_FLAGS,
    ];
    modify(pair, &mut attributes, &mask, "INIT")
}

/// INIT to RTR: it takes what the peer sends.
pub(super) fn receive(pair: ptr::NonNull<ibv_qp>, device: &Device, peer: &Endpoint) -> Result<(), VerbsError> {
    let mut attributes = attributes_of(ibv_qp_state::IBV_QPS_RTR);
    attributes.path_mtu = u32::from(device.mtu().min(peer.mtu).code());
    attributes.dest_qp_num = peer.queue_pair;
    attributes.rq_psn = peer.first_packet;
    attributes.max_dest_rd_atomic = 1;
    attributes.min_rnr_timer = VERBS_NOT_READY_CODE;
    attributes.ah_attr.dlid = peer.lid;
    attributes.ah_attr.is_global = 1;
    attributes.ah_attr.port_num = device.port();
    let dgid = rdma_sys::ibv_gid { raw: peer.gid.0 };
    attributes.ah_attr.grh =
        ibv_global_route { dgid, flow_label: 0, sgid_index: device.gid_index(), hop_limit: VERBS_HOPS_MAX, traffic_class: 0 };
    let mask = [
        ibv_qp_attr_mask::IBV_QP_STATE,
        ibv_qp_attr_mask::IBV_QP_AV,
        ibv_qp_attr_mask::IBV_QP_PATH_MTU,
        ibv_qp_attr_mask::IBV_QP_DEST_QPN,
        ibv_qp_attr_mask::IBV_QP_RQ_PSN,
        ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC,
        ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER,
    ];
    modify(pair, &mut attributes, &mask, "RTR")
}

/// RTR to RTS: it sends, too.
pub(super) fn send(pair: ptr::NonNull<ibv_qp>, first_packet: u32) -> Result<(), VerbsError> {
    let mut attributes = attributes_of(ibv_qp_state::IBV_QPS_RTS);
    attributes.timeout = VERBS_ACKNOWLEDGE_EXPONENT;
    attributes.retry_cnt = VERBS_RETRIES;
    attributes.rnr_retry = VERBS_NOT_READY_RETRIES;
    attributes.sq_psn = first_packet;
    attributes.max_rd_atomic = 1;
    let mask = [
        ibv_qp_attr_mask::IBV_QP_STATE,
        ibv_qp_attr_mask::IBV_QP_TIMEOUT,
        ibv_qp_attr_mask::IBV_QP_RETRY_CNT,
        ibv_qp_attr_mask::IBV_QP_RNR_RETRY,
        ibv_qp_attr_mask::IBV_QP_SQ_PSN,
        ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC,
    ];
    modify(pair, &mut attributes, &mask, "RTS")
}

/// Any state to ERROR: whatever is under way ends, and whatever the peer sends is dropped.
pub(super) fn fail(pair: ptr::NonNull<ibv_qp>) -> Result<(), VerbsError> {
    modify(pair, &mut attributes_of(ibv_qp_state::IBV_QPS_ERR), &[ibv_qp_attr_mask::IBV_QP_STATE], "ERROR")
}

/// Posts a work request on the first `bytes` of a buffer.
///
/// # Safety
/// The pair is there, and the buffer is kept where nobody touches it until the completion of `id` was taken or the pair is destroyed.
pub(super) unsafe fn post(
    pair: ptr::NonNull<ibv_qp>,
    (id, kind): (WorkId, Kind),
    (buffer, bytes): (&Buffer, u32),
    target: Target,
) -> Result<(), VerbsError> {
    let mut part = ibv_sge { addr: buffer.address(), length: bytes, lkey: buffer.local_key() };
    // A part of no bytes would stand for 2^31.
    let (parts, count) = if bytes == 0 { (ptr::null_mut(), 0) } else { (&raw mut part, 1) };
    let answer = if kind == Kind::Receive {
        let mut request = ibv_recv_wr { wr_id: id.0, next: ptr::null_mut(), sg_list: parts, num_sge: count };
        let mut refused = ptr::null_mut();
        // SAFETY: request and part live across the call, which copies them; the caller keeps the buffer.
        unsafe { ibv_post_recv(pair.as_ptr(), &raw mut request, &raw mut refused) }
    } else {
        // SAFETY: a struct of numbers, pointers and unions of those, for all of which zero is valid.
        let mut request: ibv_send_wr = unsafe { mem::zeroed() };
        request.wr_id = id.0;
        request.sg_list = parts;
        request.num_sge = count;
        request.opcode = if kind == Kind::Write { ibv_wr_opcode::IBV_WR_RDMA_WRITE } else { ibv_wr_opcode::IBV_WR_SEND };
        request.send_flags = ibv_send_flags::IBV_SEND_SIGNALED.0;
        request.wr = wr_t { rdma: rdma_t { remote_addr: target.address, rkey: target.key } };
        let mut refused = ptr::null_mut();
        // SAFETY: request and part live across the call, which copies them; the caller keeps the buffer.
        unsafe { ibv_post_send(pair.as_ptr(), &raw mut request, &raw mut refused) }
    };
    check(answer).map_err(|source| VerbsError::Post { kind, source })
}

fn attributes_of(state: ibv_qp_state::Type) -> ibv_qp_attr {
    // SAFETY: a struct of numbers and a union of addresses' bytes, for all of which zero is valid.
    let mut attributes: ibv_qp_attr = unsafe { mem::zeroed() };
    attributes.qp_state = state;
    attributes
}

fn modify(
    pair: ptr::NonNull<ibv_qp>,
    attributes: &mut ibv_qp_attr,
    mask: &[ibv_qp_attr_mask],
    state: &'static str,
) -> Result<(), VerbsError> {
    let mask = mask.iter().fold(0, |all, one| all | one.0);
    let mask = i32::try_from(mask).expect("the masks are small numbers");
    // SAFETY: the callers' owner has the pair, and the attributes are ours; those that the mask names are set.
    let answer = unsafe { ibv_modify_qp(pair.as_ptr(), attributes, mask) };
    check(answer).map_err(|source| VerbsError::Modify { state, source })
}
