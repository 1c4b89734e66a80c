//! What a user of logins runs: `hash-password`, and `check` on what it printed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use argon2::{Argon2, PasswordVerifier};
use serde_json::json;
use tempfile::TempDir;

fn tollgate(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .env_remove("CONFIG_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever does not read it has said why.
    let _ = process.stdin.take().unwrap().write_all(stdin);
    process.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn check(password_hash: &str) -> Output {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tollgate.yaml");
    let user = json!({ "username": "ada", "password_hash": password_hash });
    let policy = json!({
        "routing": { "services": { "echo": { "urls": ["http://127.0.0.1:9"] } } },
        "auth": { "login": { "secret": "0f9a8b7c6d5e4f30".repeat(2), "users": [user] } },
    });
    std::fs::write(&file, policy.to_string()).unwrap();
    tollgate(&["check", file.to_str().unwrap()], b"")
}

#[test]
fn a_hashed_password_is_one_line_that_verifies_and_passes_check() {
    for stdin in ["pass word", "pass word\n", "pass word\r\n", "pass word\nanother line\n"] {
        let output = tollgate(&["hash-password"], stdin.as_bytes());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
        let hash = text(&output.stdout).strip_suffix('\n').unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(Argon2::default().verify_password(b"pass word", hash).is_ok());
        let checked = check(hash);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    }
}

#[test]
fn no_password_is_an_error() {
    for stdin in ["", "\n"] {
        let output = tollgate(&["hash-password"], stdin.as_bytes());
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        assert_eq!(text(&output.stderr), "tollgate: the password is empty\n");
    }
    let output = tollgate(&["hash-password"], &[b'x'; 100_000]);
    assert_eq!(text(&output.stderr), "tollgate: the password is longer than 1024 bytes\n");
}

#[test]
fn check_names_the_user_whose_hash_cannot_be_used() {
    let output = check("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("the password_hash of `ada` cannot be used"), "{errors}");
    assert!(errors.contains("`tollgate hash-password` makes one"), "{errors}");
    assert!(!errors.contains("c29tZXNhbHQ"), "{errors}");
}
