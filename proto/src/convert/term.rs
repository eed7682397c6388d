//! Term records and appointments.

use std::sync::Arc;

use strobe_core::{
    authority::SINCE_MAX,
    limits::MEMBERS_MAX,
    model::{Appointment, EstablishedTerm, NodeSet, Term, TermRecord},
};

use super::{ConvertError, at_most, each, partition_bytes, partition_uid, required};
use crate::agent;

impl From<EstablishedTerm> for agent::EstablishedTerm {
    fn from(established: EstablishedTerm) -> Self {
        Self { term: established.term.0, members: established.members.bits() }
    }
}

impl From<agent::EstablishedTerm> for EstablishedTerm {
    fn from(message: agent::EstablishedTerm) -> Self {
        Self { term: Term(message.term), members: NodeSet::from_bits(message.members) }
    }
}

impl From<&TermRecord> for agent::TermRecord {
    fn from(record: &TermRecord) -> Self {
        Self {
            partition: partition_bytes(record.partition),
            term: record.term.0,
            manager: Some(record.manager.into()),
            members: record.members.iter().map(|member| (*member).into()).collect(),
            established: record.established.map(Into::into),
            since: record.since.iter().map(|since| (*since).into()).collect(),
        }
    }
}

impl TryFrom<agent::TermRecord> for TermRecord {
    type Error = ConvertError;

    fn try_from(message: agent::TermRecord) -> Result<Self, ConvertError> {
        at_most("since", SINCE_MAX, message.since.len())?;
        Ok(Self {
            partition: partition_uid(&message.partition)?,
            term: Term(message.term),
            manager: required("manager", message.manager)?.try_into()?,
            members: each("members", MEMBERS_MAX, message.members)?,
            established: message.established.map(Into::into),
            since: message.since.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<&Appointment> for agent::Appointment {
    fn from(appointment: &Appointment) -> Self {
        Self {
            record: Some((&appointment.record).into()),
            dead: appointment.dead.bits(),
            lost: appointment.lost.bits(),
            plan: Some((&*appointment.plan).into()),
        }
    }
}

impl TryFrom<agent::Appointment> for Appointment {
    type Error = ConvertError;

    fn try_from(message: agent::Appointment) -> Result<Self, ConvertError> {
        Ok(Self {
            record: required("record", message.record)?.try_into()?,
            dead: NodeSet::from_bits(message.dead),
            lost: NodeSet::from_bits(message.lost),
            plan: Arc::new(required("plan", message.plan)?.try_into()?),
        })
    }
}
