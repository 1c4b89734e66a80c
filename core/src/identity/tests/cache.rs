//! A cached token never outlives the token, its key or its configuration: any history, against a model.

use proptest::prelude::*;

use super::*;
use crate::KeysFailure;

#[derive(Clone, Debug)]
enum Act {
    Ask {
        signer: usize,
        life: u64,
    },
    Advance {
        seconds: f64,
    },
    /// What the issuer publishes from now on.
    Publish {
        keys: [bool; 2],
        works: bool,
    },
    Reload,
    Background,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..2_usize, prop_oneof![Just(50_u64), Just(1_000), Just(100_000)])
            .prop_map(|(signer, life)| Act::Ask { signer, life }),
        3 => (0.0..400.0).prop_map(|seconds| Act::Advance { seconds }),
        1 => (any::<[bool; 2]>(), any::<bool>()).prop_map(|(keys, works)| Act::Publish { keys, works }),
        1 => Just(Act::Reload),
        1 => Just(Act::Background),
    ]
}

proptest! {
    #[test]
    fn a_cached_token_outlives_nothing(acts in prop::collection::vec(act(), 1..60)) {
        let signers = [Signer::new(1), Signer::new(2)];
        let auth = Auth { jwt: vec![published()], ..Auth::default() };
        let mut identity = Identity::new(&auth, None);
        let (mut seconds, mut published, mut works) = (0.0, [true, false], true);
        // The model: the set that was fetched last and when, and the tokens this configuration has verified.
        let mut held: Option<([bool; 2], f64)> = None;
        let mut verified = std::collections::HashSet::new();
        for act in acts {
            let body = |keys: [bool; 2]| {
                let keys = signers.iter().zip(keys).filter(|(_, is_in)| *is_in);
                key_set(&keys.map(|(signer, _)| signer.jwk()).collect::<Vec<_>>())
            };
            match act {
                Act::Advance { seconds: more } => seconds += more,
                Act::Publish { keys, works: now_works } => (published, works) = (keys, now_works),
                Act::Reload => {
                    identity = Identity::new(&auth, Some(&identity));
                    verified.clear();
                }
                Act::Background => {
                    for fetch in identity.due_key_sets(at(seconds)).fetches {
                        let body = body(published);
                        fetch.finish(if works { Ok(&body) } else { Err(KeysFailure::Unreachable) }, at(seconds));
                        if works {
                            held = Some((published, seconds));
                        }
                    }
                }
                Act::Ask { signer, life } => {
                    let now = at(seconds);
                    let token = signers[signer].token(expiring(life));
                    let mut identified = identity.identify(&bearer(&token), now);
                    let from_cache = matches!(identified, Identified::Known(_));
                    if from_cache {
                        prop_assert!(verified.contains(&token), "was never verified");
                    }
                    if let Identified::Keyless(keyless) = identified {
                        let body = body(published);
                        identified = keyless.resume(if works { Ok(&body) } else { Err(KeysFailure::Unreachable) }, now);
                        if works {
                            held = Some((published, seconds));
                        }
                    }
                    if let Identified::Known(_) = conclude(&identity, identified, now) {
                        let (keys, fetched) = held.expect("nothing is known without a set");
                        prop_assert!(seconds < life as f64, "outlives the token");
                        prop_assert!(keys[signer], "outlives its key");
                        prop_assert!(seconds - fetched < 1_600.0, "outlives its set");
                        verified.insert(token);
                    }
                }
            }
        }
    }
}

#[test]
fn a_full_bucket_gives_up_what_was_not_asked_for() {
    use crate::identity::cache::TokenCache;
    let source = identity(&[secret()]);
    let verified = |life| match identify(&source, &token(expiring(life)), at(0.0)) {
        Identified::Known(caller) => caller.token.unwrap(),
        other => panic!("{other:?}"),
    };
    let (long, short) = (verified(1_000), verified(10));
    let cache = TokenCache::new();
    // All in one bucket: only the last byte differs.
    let hash = |last: u8| -> [u8; 32] { std::array::from_fn(|place| if place == 31 { last } else { 0 }) };
    for last in 0..8 {
        cache.insert(&hash(last), if last == 5 { short.clone() } else { long.clone() }, at(0.0));
    }
    cache.insert(&hash(8), long.clone(), at(20.0));
    assert!(cache.get(&hash(5)).is_none(), "what expired goes first");
    for last in [0, 1, 3] {
        assert!(cache.get(&hash(last)).is_some());
    }
    cache.insert(&hash(9), long.clone(), at(20.0));
    assert!(cache.get(&hash(2)).is_none(), "then the first that was not asked for");
    assert!([0, 1, 3, 4, 6, 7, 8, 9].iter().all(|last| cache.get(&hash(*last)).is_some()));
    cache.insert(&hash(10), long, at(20.0));
    let left = (0..=10).filter(|last| cache.get(&hash(*last)).is_some()).count();
    assert_eq!(left, 8, "a bucket in which all were asked for gives one up as well");
}
