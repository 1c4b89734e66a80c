//! Notices of nodes to each other: the model and the script on a real Redis hear the same, under a clock of the test's
//! choosing and under Redis' own.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use tollgate_core::store::model::Model;
use tollgate_core::store::{Call, Exchange, Heard, Key, NOTICES_PER_CALL_MAX, Notice, Part};
use tollgate_tests::redis::{Redis, Server};

use crate::differential::{START_US, chosen};

#[derive(Clone, Debug)]
struct Turn {
    node: usize,
    /// Forward or back, µs.
    step: i64,
    said: Vec<(u64, u8)>,
}

const NODES: usize = 3;

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    // Well within the least time that a set is kept, so that no key expires by Redis' own clock.
    let step = prop_oneof![4 => 0i64..3_000_000, 1 => -2_000_000i64..0, 1 => -200_000_000i64..-70_000_000];
    let said = prop::collection::vec((1u64..20_000_000, 0u8..5), 0..4);
    let turn = (0..NODES, step, said).prop_map(|(node, step, said)| Turn { node, step, said });
    prop::collection::vec(turn, 1..40)
}

#[test]
fn the_model_and_the_script_hear_alike() {
    let server = RefCell::new(Server::start());
    let number = Cell::new(0);
    proptest!(ProptestConfig::with_cases(200), |(turns in turns())| {
        number.set(number.get() + 1);
        let key = Key::notices(Part::Plain(&number.get().to_string()));
        let (mut model, mut now, mut seen) = (Model::default(), START_US, [0; NODES]);
        for Turn { node, step, said } in turns {
            now = now.saturating_add_signed(step);
            let notices = said.iter().map(|(life_us, text)| Notice { life_us: *life_us, text: format!("n {text}") });
            let exchange = Exchange { seen: seen[node], notices: notices.collect() };
            let call = Call::exchange(key.clone(), exchange);
            let expected = model.answer(&call, now);
            prop_assert_eq!(&server.borrow_mut().send(&chosen(&call, now)), &expected);
            seen[node] = Heard::read(&expected).unwrap().seen;
        }
    });
}

fn exchange(server: &mut Server, seen: u64, notices: &[(u64, &str)]) -> Heard {
    let notices = notices.iter().map(|(life_us, text)| Notice { life_us: *life_us, text: text.to_string() });
    let call = Call::exchange(Key::notices(Part::Plain("t")), Exchange { seen, notices: notices.collect() });
    Heard::read(&server.send(&call.eval())).unwrap()
}

#[test]
fn what_is_said_is_heard_once_in_its_order_by_redis_own_clock() {
    let mut server = Server::start();
    let nothing = exchange(&mut server, 0, &[]);
    assert_eq!(nothing, Heard { seen: 0, notices: vec![] });
    exchange(&mut server, 0, &[(60_000_000, "a"), (60_000_000, "b")]);
    exchange(&mut server, 0, &[(60_000_000, "c"), (1, "gone at once")]);
    let heard = exchange(&mut server, 0, &[]);
    assert_eq!(heard.notices.iter().map(|notice| notice.text.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(
        heard.notices.iter().all(|notice| (50_000_000..=60_000_000).contains(&notice.life_us)),
        "{heard:?}"
    );
    assert_eq!(exchange(&mut server, heard.seen, &[]), Heard { seen: heard.seen, notices: vec![] });
    let key = Key::notices(Part::Plain("t"));
    assert!((55_000..=61_000).contains(&server.ttl_ms(&key)));
    server.delete(&key);
    exchange(&mut server, 0, &[(60_000_000, "after the flush")]);
    let heard = exchange(&mut server, heard.seen + 3_600_000_000, &[]);
    assert_eq!(heard.notices.len(), 1, "who has seen more than there is hears everything again");
}

#[test]
fn more_than_one_call_carries_comes_with_the_next() {
    let mut server = Server::start();
    for round in 0..3 {
        let texts: Vec<String> =
            (0..NOTICES_PER_CALL_MAX).map(|number| format!("{round} {number}")).collect();
        let notices: Vec<_> = texts.iter().map(|text| (60_000_000, text.as_str())).collect();
        exchange(&mut server, u64::MAX >> 12, &notices);
    }
    let (mut seen, mut heard) = (0, Vec::new());
    for _ in 0..4 {
        let some = exchange(&mut server, seen, &[]);
        seen = some.seen;
        heard.extend(some.notices.into_iter().map(|notice| notice.text));
    }
    assert_eq!(heard.len(), 3 * NOTICES_PER_CALL_MAX);
    heard.dedup();
    assert_eq!(heard.len(), 3 * NOTICES_PER_CALL_MAX);
}
