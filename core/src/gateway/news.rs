//! What nodes tell each other beside what they count: who is refused, and what fails.

use std::net::IpAddr;
use std::sync::Arc;

use super::Gateway;
use crate::Now;
use crate::fleet::{News, StoreCall};
use crate::store::{Call, Heard};

/// Says what happened here since the last time, and asks what happened elsewhere.
pub(super) fn due(gateway: &Arc<Gateway>, now: Now) -> Option<StoreCall> {
    let fleet = gateway.quotas.fleet()?;
    gateway.say_bans(now);
    if fleet.share.breakers {
        for service in &gateway.services {
            if let Some(life_us) = service.breaker().and_then(|breaker| breaker.take_opened(now)) {
                fleet.notices.say(&News::Opened(service.name().to_owned()), life_us);
            }
        }
    }
    fleet.ask_nodes(gateway, now)
}

impl Gateway {
    fn say_bans(&self, now: Now) {
        if let (Some(fleet), Some(flood)) = (self.quotas.fleet(), &self.flood)
            && fleet.share.bans
        {
            for (address, life_us) in flood.take_fresh(now) {
                fleet.notices.say(&News::Banned(address), life_us);
            }
        }
    }

    /// Says that a ban was lifted, after what was to be said of its being imposed.
    pub(super) fn say_lifted(&self, address: IpAddr, now: Now) {
        self.say_bans(now);
        if let (Some(fleet), Some(flood)) = (self.quotas.fleet(), &self.flood)
            && fleet.share.bans
        {
            fleet.notices.say(&News::Lifted(address), flood.block_us());
        }
    }

    /// Takes what the other nodes said; without an answer it is asked again.
    pub(crate) fn heard(&self, call: &Call, answer: Option<&Heard>, now: Now) {
        let Some(fleet) = self.quotas.fleet() else { return };
        for (news, life_us) in fleet.heard(call, answer) {
            match (news, &self.flood) {
                (News::Banned(address), Some(flood)) if fleet.share.bans => {
                    flood.impose(address, life_us, now);
                }
                (News::Lifted(address), Some(flood)) if fleet.share.bans => {
                    flood.lift(address, now);
                }
                (News::Opened(name), _) if fleet.share.breakers => {
                    if let Some(breaker) = self.service(&name).and_then(|service| service.breaker()) {
                        breaker.open_for(life_us, now);
                    }
                }
                _ => {}
            }
        }
    }
}
