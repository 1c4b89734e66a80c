use tempfile::TempDir;

use super::*;

fn rules(folder: &TempDir, file_bytes: u64, max_files: u32) -> config::Events {
    config::Events {
        enabled: true,
        directory: folder.path().to_owned(),
        file_bytes,
        max_files,
        delivery: None,
    }
}

/// Appends each text as one batch of one event to a log that is opened and closed for it.
fn written(rules: &config::Events, batches: &[&str]) -> EventLogStats {
    let (log, writing) = EventLog::open(rules).expect("the folder is writable");
    batches.iter().for_each(|batch| log.append(batch.as_bytes().to_vec(), 1));
    log.close();
    writing.join();
    log.stats()
}

fn contents(folder: &TempDir) -> Vec<String> {
    let numbers = numbers(folder.path()).unwrap();
    numbers.iter().map(|number| fs::read_to_string(path(folder.path(), *number)).unwrap()).collect()
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_says_what_to_change() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let rules = config::Events { directory: file.join("below"), ..rules(&folder, 100, 2) };
    let error = EventLog::open(&rules).err().expect("a file is no folder").to_string();
    assert!(error.contains("change event_processing.log.directory"), "{error}");
}

#[test]
fn lines_go_to_the_same_file_until_it_is_full() {
    let folder = TempDir::new().unwrap();
    let stats = written(&rules(&folder, 8, 10), &["aaa\n", "bbb\n", "ccc\n"]);
    assert_eq!(contents(&folder), ["aaa\nbbb\n", "ccc\n"]);
    assert_eq!(stats, EventLogStats { written: 3, ..EventLogStats::default() });
}

#[test]
fn the_oldest_files_go_first() {
    let folder = TempDir::new().unwrap();
    written(&rules(&folder, 4, 2), &["aaa\n", "bbb\n", "ccc\n", "ddd\n"]);
    assert_eq!(contents(&folder), ["ccc\n", "ddd\n"]);
}

#[test]
fn a_line_that_a_crash_cut_off_is_taken_away() {
    let folder = TempDir::new().unwrap();
    fs::write(path(folder.path(), 7), "whole\ncut").unwrap();
    written(&rules(&folder, 100, 2), &["next\n"]);
    assert_eq!(contents(&folder), ["whole\nnext\n"]);
}

#[test]
fn a_disk_that_refuses_costs_the_batch_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let (log, writing) = EventLog::open(&rules(&folder, 4, 9)).expect("the folder is writable");
    // In the place of the next file.
    fs::create_dir(path(folder.path(), 2)).unwrap();
    log.append(b"aaa\n".to_vec(), 1);
    log.append(b"bbb\n".to_vec(), 2);
    log.close();
    writing.join();
    let stats = log.stats();
    assert_eq!((stats.written, stats.dropped_disk), (1, 2));
    assert!(stats.last_error.is_some());
    assert_eq!(fs::read_to_string(path(folder.path(), 1)).unwrap(), "aaa\n");
}
