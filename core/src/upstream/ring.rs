//! Consistent hashing (Karger et al., STOC 1997): an endpoint that comes or goes moves only its own share of keys.

use crate::seed::mix;

/// Points an endpoint of average weight has on the ring; shares are within about a tenth of the weights.
const POINTS_PER_ENDPOINT: u64 = 160;

/// Endpoints by the points they own on a circle of hashes. Every node and platform builds the same ring from the
/// same addresses.
#[derive(Debug)]
pub(super) struct Ring(Vec<(u64, u16)>);

impl Ring {
    pub(super) fn new<'a>(endpoints: impl Iterator<Item = (&'a [u8], u32)>) -> Ring {
        let endpoints: Vec<_> = endpoints.collect();
        let total: u64 = endpoints.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut points = Vec::new();
        for (index, (name, weight)) in endpoints.iter().enumerate() {
            let share = POINTS_PER_ENDPOINT * endpoints.len() as u64 * u64::from(*weight) / total;
            let name = hash(name);
            points.extend((0..share.max(1)).map(|point| (mix(name.wrapping_add(mix(point))), index as u16)));
        }
        points.sort_unstable();
        Ring(points)
    }

    /// The owner of the first point at or after `key` that `usable` accepts; it must accept at least one.
    pub(super) fn find(&self, key: u64, usable: impl Fn(usize) -> bool) -> usize {
        let start = self.0.partition_point(|(point, _)| *point < key);
        let (after, before) = (self.0[start..].iter(), self.0[..start].iter());
        let owner = after.chain(before).map(|(_, index)| usize::from(*index)).find(|index| usable(*index));
        owner.expect("at least one endpoint is usable and every endpoint has a point")
    }
}

/// FNV-1a with a finaliser: stable over platforms and versions, which `std`'s hasher does not promise.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}
