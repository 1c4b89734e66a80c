use tollgate_core::config::{NoSources, from_bundle};
use tollgate_core::{Options, Place};

use super::*;

const NOW: Now = Now { wall_us: 1_000_000, mono_us: 1_000_000 };

fn gateway() -> Arc<Gateway> {
    let bundle = r#"{"format":1,"policy":{
        "server":{"trusted_proxies":["198.51.100.0/24"]},
        "routing":{"services":{"s":{"urls":["https://one/base"]}}}}}"#;
    let loaded = from_bundle(bundle.as_bytes(), &NoSources).unwrap();
    let options = Options {
        node: "n".to_owned(),
        boot_epoch: 1,
        seed: 1,
        secret: [0; 16],
        lanes: 1,
        generation: 1,
        policy: loaded.hash,
        place: Place::Edge,
        hooks: Vec::new(),
    };
    Gateway::new(loaded.config, None, options).unwrap()
}

/// The end, status and client of the only event.
fn event(gateway: &Gateway) -> (End, u16, String) {
    let mut events = Vec::new();
    gateway.drain(0, &mut events);
    assert_eq!(events.len(), 1);
    (events[0].end(), events[0].status(), events[0].client().to_string())
}

#[test]
fn a_request_is_forwarded_and_its_answer_relayed() {
    let gateway = gateway();
    let request = "PUT\nhttp://a.example/s/x?y=1\n3\n192.0.2.1\ncf-connecting-ip\n6.6.6.6\nx-mine\n1";
    let mut call = Call::begin(&gateway, request, NOW).unwrap();
    let lines: Vec<_> = call.step().split('\n').collect();
    assert_eq!(lines[..4], ["forward", "PUT", "https://one/base/x?y=1", "30000"]);
    let field = |name| lines.iter().skip(6).step_by(2).position(|line| *line == name);
    let value = |name| lines[6 + 2 * field(name).unwrap() + 1];
    assert_eq!(
        [value("x-mine"), value("x-forwarded-for"), value("x-forwarded-host")],
        ["1", "192.0.2.1", "a.example"]
    );
    assert_eq!([field("cf-connecting-ip"), field("host")], [None, None]);

    call.responded(200, "\nset-cookie\na=1\nset-cookie\nb=2\ncontent-length\n5", NOW);
    let lines: Vec<_> = call.step().split('\n').collect();
    assert_eq!(lines[..6], ["upstream", "200", "set-cookie", "a=1", "set-cookie", "b=2"]);
    assert!(!lines.contains(&"content-length"));
    call.finish(End::Complete, 5, NOW);
    assert_eq!(event(&gateway), (End::Complete, 200, "192.0.2.1".to_owned()));
}

#[test]
fn what_the_platform_says_of_a_client_is_not_forwarded_for_a_trusted_proxy_either() {
    let request = "GET\nhttp://a.example/s/x\n0\n198.51.100.7\ncf-connecting-ip\n198.51.100.7\nx-mine\n1";
    let call = Call::begin(&gateway(), request, NOW).unwrap();
    assert!(call.step().contains("\nx-mine\n1"));
    assert!(!call.step().contains("cf-connecting-ip"));
}

#[test]
fn a_body_that_fetch_was_given_is_gone() {
    for (body, progress) in
        [("0", Progress::Replayable), ("3", Progress::Consumed), ("?", Progress::Consumed)]
    {
        let call = Call::begin(&gateway(), &format!("PUT\nhttp://a/s/x\n{body}\n"), NOW).unwrap();
        assert_eq!(call.progress, progress, "{body}");
    }
}

#[test]
fn a_call_that_is_dropped_is_one_aborted_event() {
    let gateway = gateway();
    drop(Call::begin(&gateway, "GET\nhttp://a/s/x\n0\n192.0.2.1", NOW).unwrap());
    assert_eq!(event(&gateway), (End::Aborted, 499, "192.0.2.1".to_owned()));
}

#[test]
fn an_upgrade_is_asked_for_with_the_word_the_platform_took_out() {
    let mut call = Call::begin(&gateway(), "GET\nhttp://a/s/x\n0\n\nupgrade\nwebsocket", NOW).unwrap();
    assert!(call.step().contains("\nupgrade\nwebsocket"));
    call.responded(101, "\nupgrade\nwebsocket", NOW);
    assert!(call.step().starts_with("upstream\n101\n"));
}

#[test]
fn other_texts_are_no_requests() {
    let check = |text: &str, expected| {
        assert_eq!(Call::begin(&gateway(), text, NOW).unwrap_err(), Malformed(expected))
    };
    check("", "its method");
    check("GET", "its URL");
    check("GET\na.example/x\n0\n", "its URL");
    check("GET\nhttp://a/x\n-1\n", "the length of its body");
    check("GET\nhttp://a/x\n0", "its client");
}
