//! Requests about the cluster: who leads, who belongs to it, and changes of both.

use std::sync::atomic::Ordering;

use ferrolite_consensus::{Change, Member, Role};
use ferrolite_wire::{ErrorCode, NodeInfo, NodesFormat, Request, Response, Version};

use super::Connection;
use super::failure::Failure;
use crate::handle::Event;

impl Connection {
    pub(super) async fn administer(&mut self, request: Request) -> Result<Response, Failure> {
        let handle = &self.context.handle;
        Ok(match request {
            Request::Leader => {
                let (id, address) = handle.status().leader.unwrap_or_default();
                match self.version {
                    Version::Legacy => Response::LeaderLegacy { address },
                    _ => Response::Leader { id, address },
                }
            }
            Request::Client { .. } => Response::Welcome {
                heartbeat_timeout_ms: u64::try_from(self.context.heartbeat.as_millis())
                    .unwrap_or(u64::MAX),
            },
            Request::Cluster { format } => self.cluster(format).await?,
            Request::Describe { format: 0 } => Response::Metadata {
                failure_domain: self.context.failure_domain,
                weight: self.context.weight.load(Ordering::Relaxed),
            },
            Request::Describe { format } => {
                return Err(Failure::new(
                    ErrorCode::PARSE,
                    format!("unrecognized format {format}"),
                ));
            }
            Request::Weight { weight } => {
                self.context.weight.store(weight, Ordering::Relaxed);
                handle.send(Event::Weight(u32::try_from(weight).unwrap_or(u32::MAX)));
                Response::Empty
            }
            Request::Add { id, address } => {
                check_member(id, &address)?;
                handle
                    .change(Change::Add(Member::new(id, Role::Spare, address)))
                    .await?;
                Response::Empty
            }
            Request::Assign { id, role } => {
                self.assign(id, role).await?;
                Response::Empty
            }
            Request::Remove { id } => {
                handle.change(Change::Remove { id }).await?;
                Response::Empty
            }
            Request::Transfer { id } => {
                let already = {
                    let status = handle.status();
                    status.leads && status.leader.is_some_and(|(leader, _)| leader == id)
                };
                if !already {
                    handle.transfer((id != 0).then_some(id)).await?;
                }
                Response::Empty
            }
            Request::Status => Response::Status {
                json: self.status_json(),
            },
            other => {
                return Err(Failure::new(
                    ErrorCode::PROTO,
                    format!("the request {} makes no sense here", other.name()),
                ));
            }
        })
    }

    /// A spare has no copy of the log. So a spare becomes a standby first, and a voter once it has caught
    /// up; the replica waits for that.
    async fn assign(&self, id: u64, role: ferrolite_wire::Role) -> Result<(), Failure> {
        let wanted = consensus_role(role);
        Ok(self
            .context
            .handle
            .change(Change::SetRole { id, role: wanted })
            .await?)
    }

    /// The members, from the leader's own knowledge once it has proved that it leads: a client that has
    /// just added a node shall see it, whichever leader it asks.
    async fn cluster(&self, format: NodesFormat) -> Result<Response, Failure> {
        let status = self.context.handle.status();
        if status.leads {
            self.wait_until_serving().await?;
            self.context.handle.confirm().await?;
        }
        let status = self.context.handle.status();
        let members = status
            .configuration
            .map(|c| c.members().to_vec())
            .unwrap_or_default();
        let nodes = members
            .into_iter()
            .map(|member| NodeInfo {
                id: member.id,
                address: member.address,
                role: wire_role(member.role),
            })
            .collect();
        Ok(Response::Nodes { format, nodes })
    }

    fn status_json(&self) -> String {
        let status = self.context.handle.status();
        let role = match self.context.handle.role() {
            Some(Role::Voter) => "voter",
            Some(Role::Standby) => "standby",
            Some(Role::Spare) => "spare",
            None => "none",
        };
        let open = self.context.handle.following.all();
        let open: Vec<_> = open.iter().map(|open| open.live.name.clone()).collect();
        let (leader_id, leader_address) = status.leader.clone().unwrap_or_default();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "id": self.context.handle.id,
            "role": role,
            "leads": status.leads,
            "serves": status.serves,
            "term": status.term,
            "leader": { "id": leader_id, "address": leader_address },
            "log": {
                "first": self.context.handle.store.log.first_index(),
                "last": status.last,
                "committed": status.committed,
                "applied": status.applied,
            },
            "stale": { "open": open },
            "halted": status.halted,
        })
        .to_string()
    }
}

fn check_member(id: u64, address: &str) -> Result<(), Failure> {
    if id == 0 {
        return Err(Failure::new(ErrorCode::MISUSE, "a node's id cannot be 0"));
    }
    if address.is_empty() {
        return Err(Failure::new(ErrorCode::MISUSE, "a node needs an address"));
    }
    Ok(())
}

fn consensus_role(role: ferrolite_wire::Role) -> Role {
    match role {
        ferrolite_wire::Role::Voter => Role::Voter,
        ferrolite_wire::Role::Standby => Role::Standby,
        ferrolite_wire::Role::Spare => Role::Spare,
    }
}

fn wire_role(role: Role) -> ferrolite_wire::Role {
    match role {
        Role::Voter => ferrolite_wire::Role::Voter,
        Role::Standby => ferrolite_wire::Role::Standby,
        Role::Spare => ferrolite_wire::Role::Spare,
    }
}
