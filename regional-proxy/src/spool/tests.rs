mod cuts;
mod overflow;

use tempfile::TempDir;

use super::disk::model::{Faults, ModelDisk};
use super::*;

const ROOMY: Rules = Rules { max_bytes: 1 << 30, segment_bytes: 1 << 20, overflow: Overflow::Block };

fn batch(records: &[&str]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|record| batch.push(record.as_bytes()));
    batch
}

/// Everything there is to read now.
fn read<D: Disk>(cursor: &mut Cursor<D>) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let take =
        |sequence, payload: &[u8]| found.push((sequence, String::from_utf8(payload.to_vec()).unwrap()));
    cursor.read(usize::MAX, take).unwrap();
    found
}

fn owned(records: &[(u64, &str)]) -> Vec<(u64, String)> {
    records.iter().map(|(sequence, record)| (*sequence, (*record).to_owned())).collect()
}

fn segments(disk: &ModelDisk) -> Vec<String> {
    disk.names().unwrap().into_iter().filter(|name| name.contains("segment")).collect()
}

#[test]
fn what_was_appended_is_read_in_order_and_read_again_until_it_is_released() {
    let disk = ModelDisk::new(1);
    let (_, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    assert_eq!(read(&mut cursor), []);
    let answers = writer.commit(&[batch(&["a", ""]), batch(&["b"])]);
    assert_eq!(answers, [Ok(Kept::Stored { end: 3 }), Ok(Kept::Stored { end: 4 })]);
    assert_eq!(read(&mut cursor), owned(&[(1, "a"), (2, ""), (3, "b")]));
    writer.commit(&[batch(&["c"])]);
    assert_eq!(read(&mut cursor), owned(&[(4, "c")]));
    cursor.release(3).unwrap();

    disk.restart();
    let (shared, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    assert_eq!(shared.stats().depth, 2);
    assert_eq!(read(&mut cursor), owned(&[(3, "b"), (4, "c")]));
    assert_eq!(writer.commit(&[batch(&["d"])]), [Ok(Kept::Stored { end: 6 })]);
    assert_eq!(read(&mut cursor), owned(&[(5, "d")]));
    cursor.rewind(4);
    assert_eq!(read(&mut cursor), owned(&[(4, "c"), (5, "d")]));
}

#[test]
fn a_segment_is_removed_once_all_of_it_is_released() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), Rules { segment_bytes: 1, ..ROOMY }).unwrap();
    for record in ["a", "b", "c"] {
        writer.commit(&[batch(&[record])]);
    }
    assert_eq!(segments(&disk).len(), 3);
    cursor.release(3).unwrap();
    assert_eq!((segments(&disk).len(), shared.stats().bytes), (1, 21));
    cursor.release(4).unwrap();
    assert_eq!((segments(&disk).len(), shared.stats().depth), (0, 0));
    // Sequences go on where the checkpoint says.
    disk.restart();
    let (_, mut writer, mut cursor) = open(disk, ROOMY).unwrap();
    assert_eq!(writer.commit(&[batch(&["d"])]), [Ok(Kept::Stored { end: 5 })]);
    assert_eq!(read(&mut cursor), owned(&[(4, "d")]));
}

#[test]
fn damage_is_counted_once_passed_over_and_kept() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), Rules { segment_bytes: 60, ..ROOMY }).unwrap();
    writer.commit(&[batch(&["one", "two", "three"])]);
    writer.commit(&[batch(&["four"])]);
    let name = segments(&disk)[0].clone();
    disk.flip(&name, (23 + 20) * 8);
    assert_eq!(read(&mut cursor), owned(&[(1, "one"), (3, "three"), (4, "four")]));
    cursor.rewind(1);
    assert_eq!(read(&mut cursor).len(), 3);
    let stats = shared.stats();
    assert_eq!((stats.damaged_regions, stats.damaged_bytes, stats.lost), (1, 23, 1));
    cursor.release(4).unwrap();
    assert_eq!(segments(&disk)[0], format!("{name}.quarantined"));
    assert_eq!(segments(&disk).len(), 2);
}

#[test]
fn damage_at_the_end_of_an_older_segment_is_not_cut_off() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), Rules { segment_bytes: 1, ..ROOMY }).unwrap();
    writer.commit(&[batch(&["one", "two"])]);
    writer.commit(&[batch(&["three"])]);
    let name = segments(&disk)[0].clone();
    disk.flip(&name, (23 + 20) * 8);
    assert_eq!(read(&mut cursor), owned(&[(1, "one"), (3, "three")]));
    assert_eq!((shared.stats().damaged_bytes, shared.stats().lost), (23, 1));
    disk.restart();
    open(disk.clone(), ROOMY).unwrap();
    assert_eq!(disk.bytes(&name), 46);
}

#[test]
fn a_torn_end_of_the_last_segment_is_cut_off_and_its_sequences_are_spent() {
    let disk = ModelDisk::new(1);
    let (_, mut writer, _) = open(disk.clone(), ROOMY).unwrap();
    writer.commit(&[batch(&["one", "two"])]);
    let name = segments(&disk)[0].clone();
    disk.flip(&name, (23 + 20) * 8);
    disk.restart();
    let (shared, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    assert_eq!((shared.stats().torn_bytes, disk.bytes(&name)), (23, 23));
    assert_eq!(writer.commit(&[batch(&["three"])]), [Ok(Kept::Stored { end: 5 })]);
    assert_eq!(read(&mut cursor), owned(&[(1, "one"), (4, "three")]));
    assert_eq!((shared.stats().damaged_bytes, shared.stats().lost), (0, 0));
}

#[test]
fn a_failed_sync_ends_the_segment_and_acknowledges_nothing() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    writer.commit(&[batch(&["one"])]);
    disk.set_faults(Faults { sync: 1_000, ..Faults::default() });
    let refused = SpoolError::Disk("injected: the file was not synced".into());
    assert_eq!(writer.commit(&[batch(&["two"]), batch(&["three"])]), [Err(refused.clone()), Err(refused)]);
    disk.set_faults(Faults::default());
    assert_eq!(writer.commit(&[batch(&["four"])]), [Ok(Kept::Stored { end: 5 })]);
    assert_eq!(segments(&disk).len(), 2);
    assert_eq!(read(&mut cursor), owned(&[(1, "one"), (4, "four")]));
    assert_eq!(cursor.next(), 5);
    assert_eq!(shared.stats().last_error.as_deref(), Some("injected: the file was not synced"));
    // What the sync lost does not come back as damage of a segment that grows.
    assert_eq!((shared.stats().damaged_bytes, shared.stats().commits), (0, 2));
}

#[test]
fn a_reader_does_not_wait_for_sequences_that_were_spent() {
    let disk = ModelDisk::new(1);
    let (_, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    writer.commit(&[batch(&["one"])]);
    disk.set_faults(Faults { sync: 1_000, ..Faults::default() });
    assert!(writer.commit(&[batch(&["two"])])[0].is_err());
    disk.set_faults(Faults::default());
    assert_eq!(read(&mut cursor), owned(&[(1, "one")]));
    // Nothing is left to wait for, and the segment can go.
    assert_eq!(cursor.next(), 3);
    cursor.release(3).unwrap();
    assert_eq!(segments(&disk).len(), 0);
}

#[test]
fn a_block_that_could_not_be_read_is_read_again() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    writer.commit(&[batch(&["one"])]);
    disk.set_faults(Faults { read: 1_000, ..Faults::default() });
    assert!(cursor.read(1, |_, _| panic!("nothing can be read")).is_err());
    disk.set_faults(Faults::default());
    assert_eq!(read(&mut cursor), owned(&[(1, "one")]));
    assert_eq!(shared.stats().damaged_bytes, 0);
}

#[test]
fn a_block_that_can_never_be_read_is_passed_over() {
    let disk = ModelDisk::new(1);
    let (shared, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    writer.commit(&[batch(&["one"])]);
    disk.set_faults(Faults { read: 1_000, ..Faults::default() });
    for attempt in 1..=3 {
        assert_eq!(cursor.read(1, |_, _| panic!("nothing can be read")).is_err(), attempt < 3);
    }
    disk.set_faults(Faults::default());
    writer.commit(&[batch(&["two"])]);
    assert_eq!(read(&mut cursor), owned(&[(2, "two")]));
    assert_eq!((shared.stats().damaged_bytes, shared.stats().lost), (23, 1));
}

#[test]
fn a_damaged_checkpoint_delivers_again_and_loses_nothing() {
    let disk = ModelDisk::new(1);
    let (_, mut writer, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    writer.commit(&[batch(&["one"])]);
    writer.commit(&[batch(&["two"])]);
    cursor.release(2).unwrap();
    cursor.release(3).unwrap();
    // The one before the last serves where the last is damaged; then there is no other.
    disk.flip("checkpoint.a", 70);
    disk.restart();
    let (_, _, mut cursor) = open(disk.clone(), ROOMY).unwrap();
    assert_eq!(read(&mut cursor), owned(&[(2, "two")]));
    disk.flip("checkpoint.b", 70);
    disk.restart();
    let (_, _, mut cursor) = open(disk, ROOMY).unwrap();
    assert_eq!(read(&mut cursor), owned(&[(1, "one"), (2, "two")]));
}

#[test]
fn a_folder_belongs_to_one_process_at_a_time() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b");
    let first = Spool::open(&path, 1 << 20, Overflow::Block).unwrap();
    let error = Spool::open(&path, 1 << 20, Overflow::Block).err().unwrap().to_string();
    assert!(error.ends_with("another process uses this folder"), "{error}");
    first.0.close();
    first.2.join();
}

#[tokio::test]
async fn appends_share_syncs_on_a_real_disk_and_survive_the_process() {
    let folder = TempDir::new().unwrap();
    let (spool, records, committing) = Spool::open(folder.path(), 1 << 24, Overflow::Block).unwrap();
    let append = |n: usize| {
        let (spool, record) = (spool.clone(), n.to_string());
        tokio::spawn(async move { spool.append(batch(&[&record])).await })
    };
    let appends: Vec<_> = (0..500).map(append).collect();
    for append in appends {
        assert!(matches!(append.await.unwrap(), Ok(Kept::Stored { .. })));
    }
    let stats = spool.stats();
    assert_eq!(stats.stored, 500);
    assert!(stats.commits < 100, "{} syncs for 500 appends at once", stats.commits);
    spool.close();
    committing.join();
    assert_eq!(spool.append(batch(&["late"])).await, Err(SpoolError::Closed));
    drop((spool, records));

    let (spool, mut records, committing) = Spool::open(folder.path(), 1 << 24, Overflow::Block).unwrap();
    let mut found = Vec::new();
    records.read(usize::MAX, |_, payload| found.push(String::from_utf8(payload.to_vec()).unwrap())).unwrap();
    found.sort_unstable_by_key(|record| record.parse::<usize>().unwrap());
    assert_eq!(found, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    records.release(records.next()).unwrap();
    assert_eq!(spool.stats().depth, 0);
    spool.close();
    committing.join();
}
