use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::store::{Command, Value};

fn command(parts: &[&str]) -> Command {
    parts.iter().map(|part| Bytes::copy_from_slice(part.as_bytes())).collect()
}

fn head(path: &str) -> RequestHead<'_> {
    RequestHead { method: "POST", path, query: None, encoding: None }
}

#[test]
fn commands_are_arrays_at_their_paths() {
    let set = command(&["SET", "a\"b", "1"]);
    let one = request(Endpoint::Command, std::slice::from_ref(&set));
    assert_eq!((one.path, &one.body[..]), ("/", br#"["SET","a\"b","1"]"#.as_slice()));
    let several = request(Endpoint::Pipeline, &[set.clone(), command(&["PING"])]);
    assert_eq!(
        (several.path, &several.body[..]),
        ("/pipeline", br#"[["SET","a\"b","1"],["PING"]]"#.as_slice())
    );
    assert_eq!(request(Endpoint::Transaction, &[set]).path, "/multi-exec");
}

#[test]
fn an_error_is_never_a_missing_result() {
    let error = br#"{"error":"NOSCRIPT No matching script."}"#;
    assert!(read(400, error).unwrap().is_noscript());
    assert_eq!(read(200, br#"{"result":null}"#), Ok(Value::Nil));
    assert_eq!(read(200, b"{}"), Err(ReadError::NotTheProtocol(200)));
    assert_eq!(
        read(200, br#"{"result":[1,"a",[null]]}"#),
        Ok(Value::Array(vec![Value::Integer(1), Value::Text("a".into()), Value::Array(vec![Value::Nil]),]))
    );
}

#[test]
fn the_items_of_a_pipeline_fail_one_by_one() {
    let body = br#"[{"result":1},{"error":"ERR no"}]"#;
    assert_eq!(read_all(200, body, 2), Ok(vec![Value::Integer(1), Value::Error("ERR no".into())]));
    assert_eq!(read_all(200, body, 3), Err(ReadError::Count { got: 2, expected: 3 }));
    assert_eq!(read_all(400, br#"{"error":"EXECABORT"}"#, 2), Err(ReadError::Refused("EXECABORT".into())));
}

#[test]
fn garbage_is_an_error() {
    assert_eq!(read(401, br#"{"error":"Unauthorized"}"#), Err(ReadError::Unauthorized));
    assert_eq!(read(502, b"<html>"), Err(ReadError::Away(502)));
    assert_eq!(read(500, br#"{"result":1}"#), Err(ReadError::NotTheProtocol(500)));
    assert_eq!(read(429, br#"{"error":"too many"}"#), Err(ReadError::Refused("too many".into())));
    assert_eq!(read(200, &vec![b' '; ANSWER_BYTES_MAX + 1]), Err(ReadError::TooLong));
    let deep = format!(r#"{{"result":{}{}}}"#, "[".repeat(17), "]".repeat(17));
    assert_eq!(read(200, deep.as_bytes()), Err(ReadError::NotTheProtocol(200)));
}

#[test]
fn a_request_is_read_with_its_encoding() {
    let base64 = RequestHead { encoding: Some("base64"), ..head("/") };
    let asked = ask(&base64, br#"["SET","k",5,"EX",1.5,true]"#).unwrap();
    assert_eq!(asked.commands, [command(&["SET", "k", "5", "EX", "1.5", "true"])]);
    assert_eq!((asked.endpoint, asked.encoding), (Endpoint::Command, Encoding::Base64));
    let asked = ask(&head("/multi-exec"), br#"[["INCR","a"],["GET","a"]]"#).unwrap();
    assert_eq!((asked.commands.len(), asked.encoding), (2, Encoding::Plain));
}

#[test]
fn a_command_can_be_named_in_the_path() {
    let got = RequestHead { method: "GET", ..head("/get/a%2Fb+c%20") };
    assert_eq!(ask(&got, b"").unwrap().commands, [command(&["get", "a/b+c "])]);
    let set = RequestHead { query: Some("EX=100&NX&k=a+b"), ..head("/set/key") };
    let asked = ask(&set, b"\xff[").unwrap();
    assert_eq!(asked.endpoint, Endpoint::Command);
    assert_eq!(asked.commands[0][2][..], b"\xff["[..]);
    assert_eq!(asked.commands[0][3..], command(&["EX", "100", "NX", "k", "a b"]));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_in_the_protocols_form() {
    let refused = |path: &str, body: &[u8]| ask(&head(path), body).unwrap_err();
    assert_eq!(refused("/get/%6", b""), AskError::Path);
    let token = RequestHead { query: Some("_token=abc"), ..head("/get/key") };
    assert_eq!(ask(&token, b"").unwrap_err(), AskError::TokenInQuery);
    let deleted = RequestHead { method: "DELETE", ..head("/get/key") };
    assert_eq!(ask(&deleted, b"").unwrap_err(), AskError::Method);
    assert_eq!(ask(&RequestHead { method: "GET", ..head("/") }, b"").unwrap_err(), AskError::Method);
    assert_eq!(refused("/", b"[\"GET\""), AskError::NotJson);
    for body in ["{}", "[]", "[1]", "[\"\"]", "[\"GET\",null]", "[\"GET\",[]]", "[[\"GET\",\"a\"]]"] {
        assert_eq!(refused("/", body.as_bytes()), AskError::NotACommand, "{body}");
    }
    for body in ["{}", "[]", "1"] {
        assert_eq!(refused("/pipeline", body.as_bytes()), AskError::NotAPipeline, "{body}");
    }
    assert_eq!(refused("/pipeline", b"[[\"PING\"],7]"), AskError::NotACommand);
    let error = AskError::NotACommand;
    let body = br#"{"error":"ERR a command is an array of texts and numbers, its name first"}"#;
    assert_eq!((error.status(), &write_error(&error.to_string())[..]), (400, body.as_slice()));
}

#[test]
fn a_request_is_bounded() {
    let refused = |path: &str, body: String| ask(&head(path), body.as_bytes()).unwrap_err();
    let pipeline = |commands: usize| format!("[{}]", vec!["[\"PING\"]"; commands].join(","));
    assert!(ask(&head("/pipeline"), pipeline(COMMANDS_MAX).as_bytes()).is_ok());
    assert_eq!(refused("/pipeline", pipeline(COMMANDS_MAX + 1)), AskError::TooManyCommands);
    let arguments = format!("[\"DEL\"{}]", ",1".repeat(ARGUMENTS_MAX));
    assert_eq!(refused("/", arguments), AskError::TooManyArguments);
    let argument = format!("[\"GET\",\"{}\"]", "a".repeat(ARGUMENT_BYTES_MAX + 1));
    assert_eq!(refused("/", argument), AskError::ArgumentTooLong);
    assert_eq!(refused("/", " ".repeat(BODY_BYTES_MAX + 1)), AskError::BodyTooLong);
}

#[test]
fn answers_are_written_as_the_official_client_reads_them() {
    let written = |value: &Value, encoding| {
        let (status, body) = write(value, encoding);
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let ok = Value::Status("OK".into());
    assert_eq!(written(&ok, Encoding::Base64), (200, r#"{"result":"OK"}"#.into()));
    let list = Value::Array(vec![Value::Text("any".into()), Value::Integer(-1), Value::Nil]);
    assert_eq!(written(&list, Encoding::Base64), (200, r#"{"result":["YW55",-1,null]}"#.into()));
    assert_eq!(written(&list, Encoding::Plain), (200, r#"{"result":["any",-1,null]}"#.into()));
    let nested = Value::Array(vec![ok.clone()]);
    assert_eq!(written(&nested, Encoding::Base64), (200, r#"{"result":["T0s="]}"#.into()));
    let error = Value::Error("ERR a\nb".into());
    assert_eq!(written(&error, Encoding::Base64), (400, r#"{"error":"ERR a\nb"}"#.into()));
    let (status, body) = write_all(&[ok, error], Encoding::Base64);
    assert_eq!((status, &body[..]), (200, br#"[{"result":"OK"},{"error":"ERR a\nb"}]"#.as_slice()));
}

#[test]
fn base64_is_padded() {
    let encoded = |text: &str| {
        let mut out = Vec::new();
        json::base64(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    // RFC 4648 section 10.
    let vectors = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("foobar", "Zm9vYmFy"),
    ];
    for (text, expected) in vectors {
        assert_eq!(encoded(text), expected);
    }
}

proptest! {
    /// What one side writes, the other reads.
    #[test]
    fn both_sides_understand_each_other(commands in prop::collection::vec(prop::collection::vec(".{1,8}", 1..5), 1..5)) {
        let commands: Vec<Command> = commands
            .into_iter()
            .map(|command| command.into_iter().map(Bytes::from).collect())
            .collect();
        let sent = request(Endpoint::Pipeline, &commands);
        prop_assert_eq!(ask(&head(sent.path), &sent.body).unwrap().commands, commands.clone());
        let values: Vec<Value> = commands
            .into_iter()
            .map(|command| Value::Array(command.into_iter().map(Value::Text).collect()))
            .collect();
        let (status, body) = write_all(&values, Encoding::Plain);
        prop_assert_eq!(read_all(status, &body, values.len()), Ok(values));
    }

    #[test]
    fn no_bytes_are_too_strange(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = ask(&head("/pipeline"), &body);
        let _ = read(200, &body);
        let _ = read_all(200, &body, 1);
    }
}
