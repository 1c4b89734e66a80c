//! The edges of all tries in one flat hash table, made for one cache line a step.

/// From a node and a segment's text to the child node. Immutable once built.
pub(super) struct Edges {
    /// Open addressing with linear probing; a power of two, at most [`LOAD_PERCENT_MAX`] full.
    slots: Box<[Edge]>,
    /// The text of segments that are longer than [`INLINE_BYTES`].
    long: Box<[u8]>,
}

/// Hash of a segment's text. It only spreads edges of the configuration; what a client sends is never inserted, so
/// it needs no secret, and texts are always compared in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TextHash(u32);

impl TextHash {
    pub(super) fn of(text: &[u8]) -> TextHash {
        let mut hash = text.len() as u64;
        let mut words = text.chunks_exact(8);
        for word in &mut words {
            hash = mix(hash, u64::from_le_bytes(word.try_into().expect("chunks are of 8 bytes")));
        }
        let rest = words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        TextHash((mix(hash, rest) >> 32) as u32)
    }
}

impl Edges {
    pub(super) fn new<'a>(edges: impl ExactSizeIterator<Item = (u32, &'a str, u32)>) -> Edges {
        let capacity = (edges.len() * 100 / LOAD_PERCENT_MAX + 1).next_power_of_two();
        let mut slots = vec![Edge::VACANT; capacity].into_boxed_slice();
        let mut long = Vec::new();
        for (parent, text, child) in edges {
            let mut edge = Edge { parent, child, bytes: text.len() as u16, text: [0; INLINE_BYTES] };
            if text.len() <= INLINE_BYTES {
                edge.text[..text.len()].copy_from_slice(text.as_bytes());
            } else {
                edge.text[..4].copy_from_slice(&(long.len() as u32).to_le_bytes());
                long.extend_from_slice(text.as_bytes());
            }
            let mut slot = first_slot(parent, TextHash::of(text.as_bytes()), capacity);
            while slots[slot].child != NONE {
                slot = (slot + 1) & (capacity - 1);
            }
            slots[slot] = edge;
        }
        Edges { slots, long: long.into() }
    }

    /// Looks at no more slots than the longest run of occupied ones, which only the configuration decides.
    pub(super) fn child(&self, parent: u32, text: &[u8], hash: TextHash) -> Option<u32> {
        let mut slot = first_slot(parent, hash, self.slots.len());
        loop {
            let edge = &self.slots[slot];
            if edge.child == NONE {
                return None;
            }
            if edge.parent == parent && usize::from(edge.bytes) == text.len() && self.text(edge) == text {
                return Some(edge.child);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn text<'a>(&'a self, edge: &'a Edge) -> &'a [u8] {
        let bytes = usize::from(edge.bytes);
        if bytes <= INLINE_BYTES {
            return &edge.text[..bytes];
        }
        let [a, b, c, d, ..] = edge.text;
        let start = u32::from_le_bytes([a, b, c, d]) as usize;
        &self.long[start..start + bytes]
    }
}

/// No node has this number.
pub(super) const NONE: u32 = u32::MAX;

const LOAD_PERCENT_MAX: usize = 70;
const INLINE_BYTES: usize = 22;

/// 32 bytes, so that two share a cache line and none straddles one.
#[derive(Clone)]
#[repr(align(32))]
struct Edge {
    parent: u32,
    /// [`NONE`] in a vacant slot.
    child: u32,
    bytes: u16,
    /// The segment, or where it starts in `long`.
    text: [u8; INLINE_BYTES],
}

impl Edge {
    const VACANT: Edge = Edge { parent: NONE, child: NONE, bytes: 0, text: [0; INLINE_BYTES] };
}

fn first_slot(parent: u32, hash: TextHash, capacity: usize) -> usize {
    let mixed = mix(u64::from(hash.0), u64::from(parent));
    (mixed >> 32) as usize & (capacity - 1)
}

/// Multiply and fold, with the golden ratio as the odd constant.
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}
