use serde::Deserialize;

use super::*;
use crate::config::Sources;
use crate::config::tree::{Path, expand};

struct Given;

impl Sources for Given {
    fn variable(&self, name: &str) -> Option<String> {
        let given = [("PORT", "8080"), ("EMPTY", ""), ("NASTY", "a: {b\n- c}"), ("NESTED", "${PORT}")];
        given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn file(&self, path: &str) -> Result<String, String> {
        match path {
            "/run/secrets/key" => Ok("s3cret\r\n".into()),
            "/run/secrets/lines" => Ok("a\n\n".into()),
            _ => Err("no such file".into()),
        }
    }
}

/// The tree of `text` as JSON, or its defects.
fn read(text: &str) -> Result<serde_json::Value, Vec<String>> {
    let (mut defects, mut hidden) = (Vec::new(), Vec::new());
    let parsed = parse(text, &mut defects);
    let show = |defects: Vec<Defect>| {
        defects.into_iter().map(|defect| format!("{}: {}", defect.position, defect.message)).collect()
    };
    let mut tree = match parsed {
        Ok(tree) => tree,
        Err(defect) => {
            defects.push(defect);
            return Err(show(defects));
        }
    };
    expand(&mut tree, &Path::default(), &Given, &mut defects, &mut hidden);
    match defects.is_empty() {
        true => serde_json::Value::deserialize(&tree).map_err(|fault| vec![fault.to_string()]),
        false => Err(show(defects)),
    }
}

fn check(text: &str, expected: serde_json::Value) {
    assert_eq!(read(text), Ok(expected), "{text}");
}

fn check_defects(text: &str, expected: &[&str]) {
    assert_eq!(read(text), Err(expected.iter().map(|&line| line.to_owned()).collect()), "{text}");
}

#[test]
fn scalars_have_the_types_of_the_core_schema() {
    use serde_json::json;
    check("", json!(null));
    check("[~, null, NULL, '', nUll]", json!([null, null, null, "", "nUll"]));
    check("[true, False, yes, 'true']", json!([true, false, "yes", "true"]));
    check("[0, -7, +7, 0o17, 0x1F, 017, 1_000]", json!([0, -7, 7, 15, 31, 17, "1_000"]));
    check("[0x+1, 0o8, 0b1]", json!(["0x+1", "0o8", "0b1"]));
    check("[18446744073709551615, -9223372036854775808]", json!([u64::MAX, i64::MIN]));
    check(
        "[1.5, -.5, 1e3, 1., inf, NaN, infinity, 1e]",
        json!([1.5, -0.5, 1000.0, 1.0, "inf", "NaN", "infinity", "1e"]),
    );
    check("[1.2.3, 10:30, 30s, 2001-01-01]", json!(["1.2.3", "10:30", "30s", "2001-01-01"]));
    check("[!!str 1, ! 1, !!int 1]", json!(["1", "1", 1]));
    check("a: |\n  1\n  2\n", json!({ "a": "1\n2\n" }));
    assert_eq!(
        read("18446744073709551616"),
        Err(vec!["`18446744073709551616` is too large a number".into()])
    );
}

#[test]
fn json_is_read_too() {
    check(r#"{"a": [1, "2", null, {"b": true}]}"#, serde_json::json!({ "a": [1, "2", null, { "b": true }] }));
}

#[test]
fn variables_expand_after_parsing_and_plain_scalars_are_typed_again() {
    use serde_json::json;
    check("a: ${PORT}\nb: '${PORT}'\nc: 1${PORT}\n", json!({ "a": 8080, "b": "8080", "c": 18080 }));
    check("a: ${NASTY}", json!({ "a": "a: {b\n- c}" }));
    check("a: ${NESTED}", json!({ "a": "${PORT}" }));
    check("[\"${NONE:-x y}\", \"${EMPTY:-x}\", \"${NONE:-}\", \"${EMPTY}\"]", json!(["x y", "x", "", ""]));
    check("a: ${file:/run/secrets/key}", json!({ "a": "s3cret" }));
    check("a: ${file:/run/secrets/lines}", json!({ "a": "a\n" }));
    check(
        "['$${PORT}', '$5', 'a$', '$${x', '${PORT}$${PORT}']",
        json!(["${PORT}", "$5", "a$", "${x", "8080${PORT}"]),
    );
    check("${PORT}: 1", json!({ "${PORT}": 1 }));
}

#[test]
fn a_variable_that_cannot_be_expanded_is_named_with_its_place() {
    check_defects(
        "a: ${NONE}\nb:\n  - ${file:/none}\n",
        &[
            "1:4: a: the variable `NONE` is not set; set it or write `${NONE:-default}`",
            "3:5: b[0]: `${file:/none}` cannot be read: no such file",
        ],
    );
    check_defects(
        "[a, ${PORT}]",
        &[
            "1:6: not valid YAML: while parsing a flow sequence, expected ',' or ']'; within `{ }` and `[ ]` write `\"${NAME}\"` in quotes, or give the value a line of its own",
        ],
    );
    check_defects("a: 'x ${PORT'", &["1:4: a: `${` without `}`; write `$${` for a literal `${`"]);
    let wrong = "is not a variable; write `${NAME}`, `${NAME:-default}`, `${file:/path}`, or `$${` for a literal `${`";
    for name in ["", "1A", "A-B", "a b", "é"] {
        check_defects(&format!("a: '${{{name}}}'"), &[&format!("1:4: a: `${{{name}}}` {wrong}")]);
    }
}

#[test]
fn what_has_no_single_meaning_is_refused() {
    check_defects("a: 1\nb: 2\na: 3\n", &["3:1: `a` is already set in line 1; keep one of the two"]);
    check_defects("{ a: 1, \"a\": 2 }", &["1:9: `a` is already set in line 1; keep one of the two"]);
    check_defects("a: 1\n---\nb: 2\n", &["2:1: a policy file is one document; remove this `---`"]);
    check_defects("[a]: 1\n", &["1:1: a key is a plain text"]);
    check_defects("a: !secret x\n", &["1:4: tags of an application have no meaning here; remove it"]);
}

#[test]
fn aliases_repeat_values_within_bounds() {
    use serde_json::json;
    check("a: &x [1, {b: 2}]\nc: *x\n", json!({ "a": [1, { "b": 2 }], "c": [1, { "b": 2 }] }));
    check_defects("a: &x [*x]\n", &["1:8: an alias within its own anchor has no end"]);
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", "));
    }
    check_defects(&laughs, &["6:45: more than 1000000 values, aliases expanded"]);
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    check_defects(&nested(DEPTH_MAX + 2), &["1:66: nested deeper than 64 levels"]);
    assert!(read(&nested(100_000)).is_err());
    let by_aliases = format!("- &a {}\n- {}*a{}\n", nested(40), "[".repeat(40), "]".repeat(40));
    check_defects(&by_aliases, &["2:43: nested deeper than 64 levels"]);
}

#[test]
fn a_file_that_is_not_yaml_says_where() {
    for (text, place) in
        [("a: [1", "2:"), ("a: 'x", "1:"), ("a:\n\t- b", "2:"), ("a: b: c", "1:"), ("*x", "1:")]
    {
        let defects = read(text).unwrap_err();
        assert!(defects.len() == 1 && defects[0].starts_with(place), "{text}: {defects:?}");
    }
}
