use super::*;

const EVENT: &str = r#"{"specversion":"1.0","id":"i","source":"tollgate://n/0","type":"dev.tollgate.api.v1",
    "time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","bootepoch":"17","sequence":"4","extra":7,"gone":null,
    "data": {"user_id":"ann","path":"/\u00e4"}}"#;

fn check_error(from: &str, to: &str, expected: &str) {
    let text = EVENT.replace(from, to);
    assert_ne!(text, EVENT, "{from}");
    let error = Envelope::parse(&text).expect_err(&text).to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_event_is_its_attributes_and_its_data() {
    let event = Envelope::parse(EVENT).unwrap();
    assert_eq!((&*event.id, &*event.source, event.kind), ("i", "tollgate://n/0", Kind::Api));
    assert_eq!(event.position, Some(Position { epoch: 17, sequence: 4 }));
    assert_eq!(event.data, r#"{"user_id":"ann","path":"/\u00e4"}"#);
    let extra: Vec<_> = event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(extra[6..], ["bootepoch=17", "sequence=4", "extra=7"]);
    assert_eq!(event.key(), "ann");
}

#[test]
fn records_are_kept_together_by_tenant_then_user_then_source() {
    let key = |data: &str| {
        let text = EVENT.replace(r#"{"user_id":"ann","path":"/\u00e4"}"#, data);
        Envelope::parse(&text).unwrap().key().into_owned()
    };
    assert_eq!(key(r#"{"user_id":"ann","tenant":"acme"}"#), "acme");
    assert_eq!(key(r#"{"user_id":null}"#), "tollgate://n/0");
    assert_eq!(key("[1]"), "tollgate://n/0");
    assert_eq!(key(r#"{"user_id":"\u0041nn"}"#), "Ann");
}

#[test]
fn what_is_not_an_event_of_ours_says_why() {
    check_error("\"1.0\"", "\"0.3\"", "has the specversion `0.3`");
    check_error("\"id\":\"i\"", "\"id\":\"\"", "has no `id`");
    check_error("\"id\":\"i\",", "", "has no `id`");
    check_error("api.v1", "api", "is of type `dev.tollgate.api`");
    check_error("api.v1", "api.vx", "is of type `dev.tollgate.api.vx`");
    check_error("api.v1", "billing.v1", "is of type `dev.tollgate.billing.v1`");
    check_error("application/json", "text/plain", "has data of the type `text/plain`");
    check_error("\"sequence\":\"4\",", "", "has only one of `bootepoch` and `sequence`");
    check_error("\"4\"", "\"-4\"", "one that is not a number");
    check_error("\"4\"", "\"18446744073709551615\"", "one that is not a number");
    check_error("\"extra\":7", "\"extra\":[7]", "`extra` is not a string, a number or a Boolean");
    check_error("\"extra\":7", "\"eXtra\":7", "an attribute's name is up to 64 lower-case letters");
    check_error("\"extra\":7", "\"id\":\"j\"", "`id` is there twice");
    check_error("\"extra\":7", "\"data\":{}", "`data` is there twice");
    check_error("\"extra\":7", "\"extra\":\"\\u0000\"", "`extra` has control characters");
    check_error("\"data\":", "\"data_base64\":", "an attribute's name");
    check_error("{\"spec", "{{\"spec", "is not a CloudEvent in JSON");
    let many: String = (0..40).map(|n| format!("\"a{n}\":1,")).collect();
    check_error("\"extra\":7,", &many, "there are more than 32 attributes");
    let long = format!("\"extra\":\"{}\"", "x".repeat(1_025));
    check_error("\"extra\":7", &long, "or more than 1024 bytes");
}
