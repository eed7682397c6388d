//! What the fabric delivers.

use strobe_core::{manager::ManagerInput, model::NodeIndex, node::MemberInput};
use strobe_fabric::transport::{Delivery, LinkId};

use super::{Agent, AgentError, Pending, frames::AgentFrame};
use crate::strobe_thread::StrobeCommand;

impl Agent {
    pub(super) async fn delivered(&mut self, delivery: Delivery) -> Result<(), AgentError> {
        match delivery {
            Delivery::Up(up) => {
                self.blocks.link_up(up.link).await?;
                let LinkId { node, .. } = up.link;
                if let Some(address) = self.addresses.get(&node).map(|address| address.datagram) {
                    self.command(StrobeCommand::InstallKeys { keys: up.keys, address });
                }
                self.pending.push_back(Pending::Member(MemberInput::LinkUp(node)));
                self.pending.push_back(Pending::Manager(ManagerInput::LinkUp(node)));
                self.put_blocks_again(node);
            }
            Delivery::Down(down) => {
                tracing::info!(link = %down.link, reason = %down.reason, "a link went down");
                self.command(StrobeCommand::RemoveLink(down.link));
            }
            Delivery::Frame(frame) => self.frame(frame.link.node, &frame.payload),
        }
        Ok(())
    }

    fn frame(&mut self, from: NodeIndex, payload: &[u8]) {
        match AgentFrame::decode(payload) {
            Ok(AgentFrame::ToMember(message)) => {
                self.pending.push_back(Pending::Member(MemberInput::FromManager { from, message }));
            }
            Ok(AgentFrame::ToManager(message)) => {
                self.pending.push_back(Pending::Manager(ManagerInput::FromMember { from, message }));
            }
            Ok(AgentFrame::BarrierBlock(block)) if block.node == from => self.block_put(block),
            Ok(AgentFrame::BarrierBlock(_)) => tracing::warn!(%from, "a node puts another's block; refused"),
            Ok(AgentFrame::GroupBlock(block)) if block.node == from => self.group_block_put(block),
            Ok(AgentFrame::GroupBlock(_)) => tracing::warn!(%from, "a node puts another's block; refused"),
            Err(error) => tracing::warn!(%from, %error, "a frame that is no message; refused"),
        }
    }
}
