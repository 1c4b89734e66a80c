use proptest::prelude::*;

use super::*;

const SALT: u32 = 0x5eed_5a17;

/// Everything a reader learns of a segment, through windows that grow only when they must.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    frames: Vec<(u64, Vec<u8>)>,
    damaged_bytes: usize,
    regions: usize,
}

fn scan(bytes: &[u8], window_bytes: usize) -> Found {
    let mut scanner = Scanner::new(SALT, 1..1_000_000);
    let (mut found, mut at, mut len, mut in_damage) = (Found::default(), 0, window_bytes, false);
    while at < bytes.len() {
        let end = (at + len).min(bytes.len());
        match scanner.step(&bytes[at..end], end == bytes.len()) {
            Step::Frame { sequence, payload } => {
                found.frames.push((sequence, bytes[at..][payload.clone()].to_vec()));
                (at, len, in_damage) = (at + payload.end, window_bytes, false);
            }
            Step::Damage { bytes } => {
                found.damaged_bytes += bytes;
                found.regions += usize::from(!in_damage);
                (at, len, in_damage) = (at + bytes, window_bytes, true);
            }
            Step::Starved => len += window_bytes,
        }
    }
    found
}

fn segment(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (index, payload) in payloads.iter().enumerate() {
        encode(index as u64 + 1, payload, SALT, &mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn a_frame_is_laid_out_as_documented() {
    let mut bytes = Vec::new();
    encode(0x0102_0304_0506_0708, b"hello", 0, &mut bytes);
    assert_eq!(bytes[..4], [0xf5, 0x54, 0x67, 0xc1]);
    assert_eq!(bytes[4..8], [5, 0, 0, 0]);
    assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes[20..], *b"hello");
    let expected = crc32c::crc32c(&[&bytes[..16], b"hello"].concat());
    assert_eq!(bytes[16..20], expected.to_le_bytes());
    // RFC 3720 §B.4: the checksum is CRC-32C and not another one.
    assert_eq!(checksum(0, &[0; 16], &[0; 16]), 0x8a91_36aa);
}

#[test]
fn a_record_that_contains_frames_is_one_record() {
    let mut forged = Vec::new();
    encode(2, b"forged", SALT ^ 1, &mut forged);
    let (bytes, _) = segment(&[forged, b"after".to_vec()]);
    let found = scan(&bytes, 64);
    assert_eq!(found.frames.len(), 2);
    // With its own header gone, what a client put inside is still no record: the client does not know the salt.
    let mut damaged = bytes.clone();
    damaged[0] ^= 0x10;
    let found = scan(&damaged, 64);
    assert_eq!(found.frames, [(2, b"after".to_vec())]);
    assert_eq!((found.regions, found.damaged_bytes), (1, bytes.len() - HEADER_BYTES - 5));
}

#[test]
fn a_frame_of_the_past_is_damage() {
    let (mut bytes, ends) = segment(&[b"one".to_vec(), b"two".to_vec()]);
    let first = bytes[..ends[0]].to_vec();
    bytes.extend_from_slice(&first);
    let found = scan(&bytes, 64);
    assert_eq!(found.frames.len(), 2);
    assert_eq!((found.regions, found.damaged_bytes), (1, first.len()));
}

#[test]
fn a_length_beyond_the_limit_is_not_waited_for() {
    let (mut bytes, _) = segment(&[b"one".to_vec(), b"two".to_vec()]);
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        Scanner::new(SALT, 1..9).step(&bytes[..HEADER_BYTES], false),
        Step::Damage { bytes: HEADER_BYTES - 3 }
    );
    assert_eq!(scan(&bytes, 64).frames, [(2, b"two".to_vec())]);
}

#[derive(Clone, Debug)]
enum Corruption {
    Flip { at: prop::sample::Index, bit: u8 },
    Truncate { at: prop::sample::Index },
    Insert { at: prop::sample::Index, garbage: Vec<u8> },
    Overwrite { at: prop::sample::Index, garbage: Vec<u8> },
    Remove { at: prop::sample::Index, bytes: usize },
}

fn corruption() -> impl Strategy<Value = Corruption> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Corruption::Flip { at, bit }),
        at().prop_map(|at| Corruption::Truncate { at }),
        (at(), hostile(1..80)).prop_map(|(at, garbage)| Corruption::Insert { at, garbage }),
        (at(), hostile(1..80)).prop_map(|(at, garbage)| Corruption::Overwrite { at, garbage }),
        (at(), 1..80usize).prop_map(|(at, bytes)| Corruption::Remove { at, bytes }),
    ]
}

/// Bytes that like to look like the start of a frame, or to be one of another segment.
fn hostile(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    // With a tail, because all payloads that end in their own CRC have the same one, and can be exchanged.
    let forged = (1..60u64, prop::collection::vec(any::<u8>(), 0..8), any::<[u8; 8]>());
    let forged = forged.prop_map(|(sequence, payload, tail)| {
        let mut bytes = Vec::new();
        encode(sequence, &payload, SALT.wrapping_add(1), &mut bytes);
        bytes.extend_from_slice(&tail);
        bytes
    });
    let magic = prop::collection::vec(any::<u8>(), len.clone()).prop_map(|mut bytes| {
        let n = bytes.len().min(MAGIC.len());
        bytes[..n].copy_from_slice(&MAGIC[..n]);
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), len), magic, forged]
}

/// Applies it to the bytes and to what is said of each: which frame of the original it belongs to, if still unharmed.
fn apply(corruption: &Corruption, bytes: &mut Vec<u8>, owners: &mut Vec<Option<usize>>) {
    if bytes.is_empty() {
        return;
    }
    match corruption {
        Corruption::Flip { at, bit } => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            owners[at] = None;
        }
        Corruption::Truncate { at } => {
            let at = at.index(bytes.len());
            bytes.truncate(at);
            owners.truncate(at);
        }
        Corruption::Insert { at, garbage } => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, garbage.iter().copied());
            owners.splice(at..at, garbage.iter().map(|_| None));
        }
        Corruption::Overwrite { at, garbage } => {
            let at = at.index(bytes.len());
            let end = (at + garbage.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&garbage[..end - at]);
            owners[at..end].fill(None);
        }
        Corruption::Remove { at, bytes: count } => {
            let at = at.index(bytes.len());
            let end = (at + count).min(bytes.len());
            bytes.drain(at..end);
            owners.drain(at..end);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_corruption_is_detected_and_reading_goes_on_at_the_next_whole_frame(
        payloads in prop::collection::vec(hostile(0..60), 1..30),
        corruptions in prop::collection::vec(corruption(), 0..4),
        window_bytes in 1..200usize,
    ) {
        let (mut bytes, ends) = segment(&payloads);
        let frame_of = |at: usize| ends.partition_point(|end| *end <= at);
        let mut owners: Vec<Option<usize>> = (0..bytes.len()).map(|at| Some(frame_of(at))).collect();
        corruptions.iter().for_each(|corruption| apply(corruption, &mut bytes, &mut owners));

        // A frame is whole if all of its bytes are there in one piece.
        let len = |frame: usize| HEADER_BYTES + payloads[frame].len();
        let whole: Vec<(u64, Vec<u8>)> = owners
            .chunk_by(|a, b| a == b)
            .filter_map(|run| run[0].filter(|frame| run.len() == len(*frame)))
            .map(|frame| (frame as u64 + 1, payloads[frame].clone()))
            .collect();
        let found = scan(&bytes, window_bytes);
        // An overwritten byte may have had its value before.
        for frame in &whole {
            prop_assert!(found.frames.contains(frame), "frame {} is whole and was not read", frame.0);
        }
        for (sequence, payload) in &found.frames {
            prop_assert_eq!(payload, &payloads[*sequence as usize - 1]);
        }
        prop_assert!(found.frames.is_sorted_by_key(|frame| frame.0));
        // Every byte is accounted for, and damage is counted exactly where something else than frames is.
        let read: usize = found.frames.iter().map(|(_, payload)| HEADER_BYTES + payload.len()).sum();
        prop_assert_eq!(read + found.damaged_bytes, bytes.len());
        prop_assert_eq!(found.regions > 0, found.damaged_bytes > 0);
        prop_assert!(found.regions <= 1 + found.frames.len());
    }
}
