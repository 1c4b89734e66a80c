use std::time::Duration;

use super::*;

const SECOND_US: u64 = 1_000_000;

fn flood(known: Option<&Flood>, max: u64, window_s: u64, block_s: u64) -> Flood {
    let rules = FloodProtection {
        max_requests_per_ip: max,
        window: Duration::from_secs(window_s),
        block_duration: Duration::from_secs(block_s),
    };
    Flood::new(&rules, Secret::new([7; 16]), known)
}

fn at(mono_us: u64) -> Now {
    Now { wall_us: 1_000_000 * SECOND_US + mono_us, mono_us }
}

fn arrive(flood: &Flood, address: &str, mono_us: u64) -> Result<(), Banned> {
    flood.arrive(address.parse().expect("an address"), at(mono_us))
}

fn banned(retry_after_us: u64, newly: bool) -> Result<(), Banned> {
    Err(Banned { retry_after_us, newly })
}

#[test]
fn more_than_the_maximum_in_a_window_is_banned_for_its_time() {
    let flood = flood(None, 3, 10, 60);
    let start_us = 5 * SECOND_US;
    (0..3).for_each(|i| assert_eq!(arrive(&flood, "192.0.2.1", start_us + i), Ok(())));
    assert_eq!(arrive(&flood, "192.0.2.1", start_us + 3), banned(60 * SECOND_US, true));
    assert_eq!(arrive(&flood, "192.0.2.1", start_us + 4), banned(60 * SECOND_US - 1, false));
    assert_eq!(arrive(&flood, "192.0.2.2", start_us + 4), Ok(()));
    assert_eq!(arrive(&flood, "192.0.2.1", start_us + 2 + 60 * SECOND_US), banned(1, false));
    assert_eq!(arrive(&flood, "192.0.2.1", start_us + 3 + 60 * SECOND_US), Ok(()));
    assert_eq!(flood.stats(), FloodStats { addresses: 2, bans_imposed: 1, ..FloodStats::default() });
}

#[test]
fn who_stays_within_the_maximum_is_never_banned() {
    let flood = flood(None, 4, 10, 60);
    for burst in 1..100 {
        (0..2).for_each(|i| assert_eq!(arrive(&flood, "192.0.2.1", burst * 5 * SECOND_US + i), Ok(())));
    }
}

#[test]
fn who_never_stops_is_banned_again_at_once() {
    for (window_s, block_s) in [(10, 3), (10, 25), (2, 60)] {
        let flood = flood(None, 10, window_s, block_s);
        let admitted: Vec<_> =
            (0..2_000).filter(|tenth| arrive(&flood, "192.0.2.1", tenth * SECOND_US / 10).is_ok()).collect();
        assert_eq!(admitted, (0..10).collect::<Vec<_>>(), "{window_s} {block_s}");
        assert_eq!(flood.stats().bans_imposed, 1 + (2_000 - 11) / (block_s * 10));
    }
}

#[test]
fn networks_are_counted_as_one() {
    let flood = flood(None, 1, 10, 60);
    assert_eq!(arrive(&flood, "2001:db8::1", 0), Ok(()));
    assert_eq!(arrive(&flood, "2001:db8::ffff:2", 0), banned(60 * SECOND_US, true));
    assert_eq!(arrive(&flood, "2001:db8:0:1::1", 0), Ok(()));
    assert_eq!(arrive(&flood, "::ffff:192.0.2.1", 0), Ok(()));
    assert_eq!(arrive(&flood, "192.0.2.1", 0), banned(60 * SECOND_US, true));
}

#[test]
fn bans_are_listed_and_lifted() {
    let flood = flood(None, 1, 10, 60);
    for address in ["2001:db8::1", "192.0.2.1", "192.0.2.2"] {
        (0..2).for_each(|_| _ = arrive(&flood, address, SECOND_US));
    }
    let since_us = 1_000_001 * SECOND_US;
    let ban = |address: &str, prefix_len| Ban {
        address: address.parse().expect("an address"),
        prefix_len,
        since_us,
        until_us: since_us + 60 * SECOND_US,
    };
    let listed = |us| {
        let mut bans = flood.bans(at(us));
        bans.sort_by_key(|ban| ban.address);
        bans
    };
    assert_eq!(listed(2 * SECOND_US), [ban("192.0.2.1", 32), ban("192.0.2.2", 32), ban("2001:db8::", 64)]);
    let lift = |address: &str| flood.lift(address.parse().expect("an address"), at(2 * SECOND_US));
    assert!(lift("2001:db8::77") && lift("::ffff:192.0.2.2"));
    assert!(!lift("192.0.2.2") && !lift("192.0.2.3"));
    assert_eq!(listed(2 * SECOND_US), [ban("192.0.2.1", 32)]);
    assert_eq!(arrive(&flood, "192.0.2.2", 2 * SECOND_US), Ok(()));
    assert_eq!(listed(61 * SECOND_US), []);
}

#[test]
fn reload_keeps_bans_and_what_still_means_something() {
    let old = flood(None, 2, 10, 60);
    (0..3).for_each(|_| _ = arrive(&old, "192.0.2.1", 0));
    (0..2).for_each(|_| _ = arrive(&old, "192.0.2.2", 0));
    let same = flood(Some(&old), 2, 10, 60);
    assert_eq!(arrive(&same, "192.0.2.2", 0), banned(60 * SECOND_US, true));
    (0..2).for_each(|_| assert_eq!(arrive(&same, "192.0.2.3", 0), Ok(())));
    let other = flood(Some(&same), 1, 5, 30);
    assert_eq!(arrive(&other, "192.0.2.1", SECOND_US), banned(59 * SECOND_US, false));
    assert_eq!(arrive(&other, "192.0.2.3", SECOND_US), Ok(()), "counted anew under other rules");
    assert_eq!(arrive(&other, "192.0.2.3", SECOND_US), banned(30 * SECOND_US, true));
    assert_eq!(other.bans(at(SECOND_US)).len(), 3);
}

#[test]
fn full_counters_ban_nobody_and_make_room_in_time() {
    let flood = Flood { addresses_max: SHARDS, ..flood(None, 1, 10, 60) };
    let address = |i: u32| IpAddr::from(i.to_be_bytes());
    for i in 1..=2_000 {
        assert_eq!(flood.arrive(address(i), at(0)), Ok(()));
    }
    let stats = flood.stats();
    assert_eq!((stats.addresses, stats.uncounted), (SHARDS as u64, 2_000 - SHARDS as u64));
    let newly = (1..=2_000).filter(|i| flood.arrive(address(*i), at(1)).is_err()).count();
    assert_eq!(newly, SHARDS, "those that are counted");
    // Their bans are over and their windows past: others take their places.
    for i in 3_000..5_000 {
        assert_eq!(flood.arrive(address(i), at(100 * SECOND_US)), Ok(()));
    }
    let newly = (3_000..5_000).filter(|i| flood.arrive(address(*i), at(100 * SECOND_US)).is_err()).count();
    assert_eq!(newly, SHARDS);
}

#[test]
fn a_clock_set_back_ends_what_it_makes_endless() {
    let flood = flood(None, 1, 10, 60);
    (0..2).for_each(|_| _ = arrive(&flood, "192.0.2.1", 500 * SECOND_US));
    assert_eq!(arrive(&flood, "192.0.2.1", 440 * SECOND_US), banned(120 * SECOND_US, false));
    assert_eq!(arrive(&flood, "192.0.2.1", 440 * SECOND_US - 1), Ok(()));
    assert_eq!(flood.stats().clock_resets, 1);
    let latest_us = u64::MAX - at(0).wall_us;
    _ = arrive(&flood, "192.0.2.2", latest_us);
    assert_eq!(arrive(&flood, "192.0.2.2", latest_us), banned(60 * SECOND_US, true));
}
