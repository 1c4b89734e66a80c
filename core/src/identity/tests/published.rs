//! Keys that an issuer publishes: when they are fetched, how long they count, and who waits.

use super::*;
use crate::KeysFailure;
use crate::identity::Keyless;

fn ask(identity: &Identity, signer: &Signer, seconds: f64) -> Identified {
    let now = at(seconds);
    conclude(identity, identity.identify(&bearer(&signer.token(expiring(100_000))), now), now)
}

fn keyless(identity: &Identity, signer: &Signer, seconds: f64) -> Box<Keyless> {
    match ask(identity, signer, seconds) {
        Identified::Keyless(keyless) => keyless,
        other => panic!("{other:?}"),
    }
}

fn check(identity: &Identity, signer: &Signer, seconds: f64, expected: &str) {
    assert_eq!(outcome(&ask(identity, signer, seconds)), expected, "at {seconds} s");
}

fn resume(identity: &Identity, keyless: Keyless, keys: &[&Signer], seconds: f64) -> String {
    let body = key_set(&keys.iter().map(|signer| signer.jwk()).collect::<Vec<_>>());
    outcome(&conclude(identity, keyless.resume(Ok(&body), at(seconds)), at(seconds)))
}

/// In use, with the key of `signer` fetched at 0 s.
fn warm(signer: &Signer) -> Identity {
    let identity = identity(&[published()]);
    let first = keyless(&identity, signer, 0.0);
    assert_eq!((first.provider(), first.url()), ("issuer", JWKS_URL));
    assert_eq!(resume(&identity, *first, &[signer], 0.0), "known ann");
    identity
}

#[test]
fn three_requests_wait_for_one_fetch() {
    let [one, two, stranger] = [1, 2, 3].map(Signer::new);
    let identity = identity(&[published()]);
    let waiting = [&one, &two, &stranger].map(|signer| keyless(&identity, signer, 0.0));
    let [first, second, third] = waiting;
    assert_eq!(resume(&identity, *first, &[&one, &two], 0.2), "known ann");
    // The first to end counts: what the others were given is not looked at.
    assert_eq!(resume(&identity, *second, &[], 0.2), "known ann");
    assert_eq!(resume(&identity, *third, &[&stranger], 0.2), "token_key_unknown");
}

#[test]
fn an_unknown_name_is_fetched_once_a_cool_down() {
    let [one, two, stranger] = [1, 2, 3].map(Signer::new);
    let identity = warm(&one);
    // The set was fetched before this name was asked for, so that nothing can be said of it yet.
    check(&identity, &two, 10.0, "keys_unavailable 20000000");
    check(&identity, &two, 29.999_999, "keys_unavailable 1");
    let waiting = keyless(&identity, &two, 30.0);
    check(&identity, &stranger, 30.1, "keyless");
    check(&identity, &one, 30.1, "known ann");
    assert_eq!(resume(&identity, *waiting, &[&one], 30.2), "token_key_unknown");
    // Now it is known to be missing, until it may be fetched again.
    check(&identity, &two, 59.0, "token_key_unknown");
    check(&identity, &stranger, 59.0, "keys_unavailable 1000000");
    let waiting = keyless(&identity, &two, 60.0);
    assert_eq!(resume(&identity, *waiting, &[&one, &two], 60.1), "known ann");
    check(&identity, &two, 60.2, "known ann");
}

#[test]
fn a_failed_fetch_keeps_the_set_until_it_is_too_stale() {
    let [one, two] = [1, 2].map(Signer::new);
    let identity = warm(&one);
    check(&identity, &one, 599.999_999, "known ann");
    let waiting = keyless(&identity, &one, 600.0);
    let resumed = waiting.resume(Err(KeysFailure::Unreachable), at(600.1));
    assert_eq!(outcome(&conclude(&identity, resumed, at(600.1))), "known ann");
    check(&identity, &one, 1_599.999_999, "known ann");
    check(&identity, &two, 620.0, "keys_unavailable 10000000");
    let last = keyless(&identity, &one, 1_600.0);
    assert_eq!(
        outcome(&last.resume(Err(KeysFailure::Status(500)), at(1_601.0))),
        "keys_unavailable 29000000"
    );
    check(&identity, &one, 1_629.0, "keys_unavailable 1000000");
    let again = keyless(&identity, &one, 1_630.0);
    assert_eq!(resume(&identity, *again, &[&one], 1_630.1), "known ann");
}

#[test]
fn what_is_no_key_set_is_a_failed_fetch() {
    let one = Signer::new(1);
    let identity = identity(&[published()]);
    let first = keyless(&identity, &one, 0.0);
    assert_eq!(outcome(&first.resume(Ok(b"<html>"), at(1.0))), "keys_unavailable 29000000");
}

#[test]
fn a_fetch_of_which_nothing_is_heard_expires() {
    let one = Signer::new(1);
    let identity = identity(&[published()]);
    let lost = keyless(&identity, &one, 0.0);
    check(&identity, &one, 9.999_999, "keyless");
    check(&identity, &one, 10.0, "keys_unavailable 20000000");
    assert_eq!(resume(&identity, *lost, &[&one], 11.0), "keys_unavailable 19000000");
    check(&identity, &one, 30.0, "keyless");
}

#[test]
fn a_rotation_ends_what_the_old_key_vouched_for() {
    let [one, two] = [1, 2].map(Signer::new);
    let identity = warm(&one);
    check(&identity, &one, 29.0, "known ann");
    let waiting = keyless(&identity, &two, 30.0);
    assert_eq!(resume(&identity, *waiting, &[&two], 30.1), "known ann");
    check(&identity, &one, 30.2, "keys_unavailable 29800000");
    check(&identity, &two, 30.2, "known ann");
    // The same name for another key is a change as well.
    let renamed = with_name(&one, "key-2");
    let waiting = keyless(&identity, &one, 60.0);
    waiting.resume(Ok(&key_set(&[renamed])), at(60.1));
    check(&identity, &two, 60.2, "token_signature");
}

fn with_name(signer: &Signer, name: &str) -> Value {
    let mut jwk = signer.jwk();
    jwk["kid"] = json!(name);
    jwk
}

#[test]
fn a_token_without_a_name_needs_a_set_with_one_key_that_fits() {
    let [one, two] = [1, 2].map(Signer::new);
    let identity = warm(&one);
    let nameless = one.token_with(json!({ "alg": "EdDSA" }), expiring(100_000));
    super::check(&identity, &nameless, at(1.0), "known ann");
    let waiting = keyless(&identity, &two, 30.0);
    resume(&identity, *waiting, &[&one, &two], 30.1);
    let other = one.token_with(json!({ "alg": "EdDSA", "typ": "JWT" }), expiring(100_000));
    super::check(&identity, &other, at(30.2), "token_key_ambiguous");
}

#[test]
fn a_set_in_use_is_refreshed_before_it_is_old() {
    let one = Signer::new(1);
    let identity = identity(&[published()]);
    let due = |seconds: f64| {
        let due = identity.due_key_sets(at(seconds));
        (due.fetches.len(), due.next_us)
    };
    let us = |seconds: f64| at(seconds).mono_us;
    assert_eq!(due(0.0), (0, u64::MAX), "the first use is lazy");
    let first = keyless(&identity, &one, 0.0);
    assert_eq!(due(0.0), (0, us(10.0)), "a fetch is under way");
    resume(&identity, *first, &[&one], 0.0);
    assert_eq!(due(1.0), (0, u64::MAX), "nobody asked since");
    check(&identity, &one, 2.0, "known ann");
    assert_eq!(due(539.0), (0, us(540.0)));
    let mut fetches = identity.due_key_sets(at(540.0)).fetches;
    assert_eq!(due(540.0), (0, us(550.0)), "it is given out once");
    let fetch = fetches.pop().unwrap();
    assert_eq!((fetch.provider(), fetch.url()), ("issuer", JWKS_URL));
    check(&identity, &one, 541.0, "known ann");
    fetch.finish(Err(KeysFailure::Status(503)), at(541.0));
    check(&identity, &one, 541.0, "known ann");
    assert_eq!(due(541.0), (0, us(570.0)), "a failure is tried again after the cool-down");
    identity.due_key_sets(at(570.0)).fetches.pop().unwrap().finish(Ok(&key_set(&[one.jwk()])), at(570.0));
    check(&identity, &one, 1_169.0, "known ann");
}

#[test]
fn only_keys_outlive_a_configuration_and_only_of_the_same_url() {
    let one = Signer::new(1);
    let old = warm(&one);
    let token = one.token(expiring(100_000));
    let auth = Auth { jwt: vec![published()], ..Auth::default() };
    let new = Identity::new(&auth, Some(&old));
    assert_eq!(outcome(&new.identify(&bearer(&token), at(1.0))), "unsigned");
    let mut moved = published();
    moved.source = KeySource::Jwks {
        url: "https://other.example/keys".into(),
        refresh: Duration::from_secs(600),
        stale_for: Duration::ZERO,
        cooldown: Duration::from_secs(30),
    };
    let moved = Identity::new(&Auth { jwt: vec![moved], ..Auth::default() }, Some(&new));
    assert_eq!(outcome(&moved.identify(&bearer(&token), at(1.0))), "keyless");
}

#[test]
fn a_clock_that_steps_back_grants_no_more_than_one_period() {
    let one = Signer::new(1);
    let identity = warm(&one);
    identity.due_key_sets(at(-500.0));
    check(&identity, &one, 99.0, "known ann");
    check(&identity, &one, 100.0, "keyless");
}
