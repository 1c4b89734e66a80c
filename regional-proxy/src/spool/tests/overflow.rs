use super::*;

const RECORD: &str = "0123456789";
/// What one of them takes on the disk.
const FRAME_BYTES: u64 = 30;

fn rules(overflow: Overflow) -> Rules {
    Rules { max_bytes: 4 * FRAME_BYTES, segment_bytes: 2 * FRAME_BYTES, overflow }
}

fn fill(writer: &mut Writer<ModelDisk>, count: usize) -> Vec<Result<Kept, SpoolError>> {
    (0..count).map(|_| writer.commit(&[batch(&[RECORD])]).remove(0)).collect()
}

#[test]
fn a_full_spool_refuses_until_there_is_room_again() {
    let (shared, mut writer, mut cursor) = open(ModelDisk::new(1), rules(Overflow::Block)).unwrap();
    let answers = fill(&mut writer, 5);
    assert_eq!(answers[3..], [Ok(Kept::Stored { end: 5 }), Err(SpoolError::Full)]);
    cursor.release(3).unwrap();
    assert_eq!(fill(&mut writer, 1), [Ok(Kept::Stored { end: 6 })]);
    assert_eq!((shared.stats().stored, shared.stats().bytes), (5, 3 * FRAME_BYTES));
}

#[test]
fn one_batch_may_fit_where_another_does_not() {
    let (_, mut writer, _) = open(ModelDisk::new(1), rules(Overflow::Block)).unwrap();
    let large = batch(&[RECORD; 5]);
    let answers = writer.commit(&[batch(&[RECORD]), large, batch(&[RECORD])]);
    assert_eq!(answers, [Ok(Kept::Stored { end: 2 }), Err(SpoolError::Full), Ok(Kept::Stored { end: 3 })]);
}

#[test]
fn the_newest_are_dropped_and_counted() {
    let (shared, mut writer, mut cursor) = open(ModelDisk::new(1), rules(Overflow::DropNewest)).unwrap();
    let answers = fill(&mut writer, 6);
    assert_eq!(answers[3..], [Ok(Kept::Stored { end: 5 }), Ok(Kept::Dropped), Ok(Kept::Dropped)]);
    assert_eq!(read(&mut cursor).len(), 4);
    assert_eq!((shared.stats().dropped_newest, shared.stats().dropped_oldest), (2, 0));
}

#[test]
fn the_oldest_segment_is_dropped_and_what_was_not_delivered_of_it_is_counted() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), rules(Overflow::DropOldest)).unwrap();
    fill(&mut writer, 4);
    let mut first = Vec::new();
    cursor.read(1, |sequence, _| first.push(sequence)).unwrap();
    cursor.release(2).unwrap();
    assert_eq!(fill(&mut writer, 2)[1], Ok(Kept::Stored { end: 7 }));
    assert_eq!((shared.stats().dropped_oldest, segments(&disk).len()), (1, 2));
    let rest: Vec<u64> = read(&mut cursor).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!((first, rest), (vec![1], vec![3, 4, 5, 6]));
    assert_eq!((shared.stats().lost, shared.stats().damaged_bytes), (0, 0));
}

#[test]
fn a_full_disk_is_a_full_spool() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    fill(&mut writer, 2);
    disk.set_faults(Faults { no_space: 1_000, ..Faults::default() });
    assert_eq!(fill(&mut writer, 2), [Err(SpoolError::Full), Err(SpoolError::Full)]);
    // What is there is delivered, its checkpoint needs no room, and then there is room again.
    assert_eq!(read(&mut cursor).len(), 2);
    cursor.release(2).unwrap();
    cursor.release(cursor.next()).unwrap();
    disk.set_faults(Faults::default());
    assert_eq!((shared.stats().bytes, segments(&disk).len()), (0, 0));
    assert!(matches!(fill(&mut writer, 1)[..], [Ok(Kept::Stored { .. })]));
}

#[test]
fn a_full_disk_costs_the_oldest_where_that_is_the_policy() {
    let disk = ModelDisk::new(7);
    let (shared, mut writer, mut cursor) =
        open(disk.clone(), Rules { overflow: Overflow::DropOldest, ..ROOMY }).unwrap();
    fill(&mut writer, 2);
    disk.set_faults(Faults { no_space: 1_000, ..Faults::default() });
    // All there is was given up, and still there is no room.
    assert_eq!(fill(&mut writer, 1), [Ok(Kept::Dropped)]);
    assert_eq!((shared.stats().dropped_oldest, shared.stats().dropped_newest), (3, 1));
    disk.set_faults(Faults::default());
    assert!(matches!(fill(&mut writer, 1)[..], [Ok(Kept::Stored { .. })]));
    assert_eq!(read(&mut cursor).len(), 1);
}
